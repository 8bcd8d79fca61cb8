//! What the controller that gives hosts addresses has to say to operators: it writes that into its ConfigMap, from where
//! agents tell it.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use model::ObjectName;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::request::{ANSWER, ask};
use crate::printable::printable;

/// Beside what was freed.
const KEY: &str = "said.json";
const NOT_FOUND: u16 = 404;

/// What it said last. It may have ended since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AllocatorReport {
    /// Which of several controllers.
    pub by: String,
    pub since: Timestamp,
    /// Why it gives no addresses; `None`: it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing_by: Option<String>,
    /// What is wrong with the allocation as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Where it is written.
#[derive(Clone)]
pub struct AllocatorNotes {
    api: Api<ConfigMap>,
    name: ObjectName,
}

// === impl AllocatorReport ===

impl AllocatorReport {
    /// One each.
    pub fn sentences(&self) -> Vec<String> {
        let Self { by, since, standing_by, problems } = self;
        let who = format!("the controller ({}, since {since:.0})", printable(by));
        let standing_by = standing_by.iter().map(|why| format!("standing by: {why}"));
        let told = standing_by.chain(problems.iter().map(|problem| format!("problem: {problem}")));
        told.map(|line| format!("{who}: {}", printable(line))).collect()
    }
}

// === impl AllocatorNotes ===

impl AllocatorNotes {
    /// Of the controller of this release.
    pub fn new(client: Client, release: &ObjectName) -> Self {
        let name = ObjectName {
            namespace: release.namespace.clone(),
            name: format!("{}-allocations", release.name).into(),
        };
        Self { api: Api::namespaced(client, &name.namespace), name }
    }

    /// `None`: nothing is worth saying, or there is no controller.
    ///
    /// # Errors
    ///
    /// In one line, why it is not known.
    pub async fn read(&self) -> Result<Option<AllocatorReport>, String> {
        let found = ask(ANSWER / 6, self.api.get_opt(&self.name.name)).await;
        let needs = "the agents' Role needs get on this ConfigMap";
        let found = found.map_err(|e| format!("ConfigMap {}: {}", self.name, e.explain(needs)))?;
        let text = found.and_then(|map| map.data).and_then(|mut data| data.remove(KEY));
        let read = text.map(|text| serde_json::from_str(&text)).transpose();
        read.map_err(|error| format!("ConfigMap {}: {KEY} makes no sense: {error}", self.name))
    }

    /// In the place of what was said before.
    ///
    /// # Errors
    ///
    /// In one line, why it could not be written.
    pub async fn write(&self, report: Option<&AllocatorReport>, manager: &str) -> Result<(), String> {
        let text = report.map(serde_json::to_string).transpose();
        let text =
            text.map_err(|error| format!("ConfigMap {}: {KEY} cannot be written: {error}", self.name))?;
        // What else is there stays.
        let patch = Patch::Merge(json!({"data": {KEY: text}}));
        let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        match ask(ANSWER, self.api.patch(&self.name.name, &params, &patch)).await {
            Ok(_) => Ok(()),
            // Where there is none, nothing is said.
            Err(error) if report.is_none() && error.status().is_some_and(|s| s.code == NOT_FOUND) => Ok(()),
            Err(error) => {
                let needs = "the controller's Role needs patch on its configmaps";
                Err(format!("ConfigMap {}: {}", self.name, error.explain(needs)))
            }
        }
    }
}

impl fmt::Debug for AllocatorNotes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllocatorNotes").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::AllocatorReport;

    #[test]
    fn what_is_told() {
        for (text, expected) in [
            (r#""problems": []"#, &[][..]),
            (r#""standing-by": "istiod"#, &[]),
            (r#""standing-by": "istiod\u001b[2J""#, &["standing by: istiod\\u{1b}[2J"]),
            (r#""problems": ["full", "in use"]"#, &["problem: full", "problem: in use"]),
        ] {
            let text = format!(r#"{{"by": "c-1", "since": "2026-01-02T03:04:05.6Z", {text}}}"#);
            let told = serde_json::from_str::<AllocatorReport>(&text).map(|report| report.sentences());
            let expected: Vec<_> = expected
                .iter()
                .map(|line| format!("the controller (c-1, since 2026-01-02T03:04:05Z): {line}"))
                .collect();
            assert_eq!(told.unwrap_or_default(), expected, "{text}");
        }
    }
}
