//! What outlives a leader: the addresses that were freed, in a ConfigMap. Bounded, for what is over is forgotten.

use std::collections::BTreeMap;

use allocation::Record;
use control::kubernetes::{ANSWER, ask};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

const KEY: &str = "freed.json";
const NEEDS: &str = "the controller's Role needs get and patch on its configmaps";

pub(crate) struct Freed {
    api: Api<ConfigMap>,
    name: String,
    manager: String,
    /// As it is written there.
    written: Option<Record>,
}

// === impl Freed ===

impl Freed {
    pub(crate) fn new(client: Client, namespace: &str, name: &str, manager: &str) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: format!("{name}-allocations"), manager: manager.to_owned(), written: None }
    }

    /// What the leader before has left.
    ///
    /// # Errors
    ///
    /// In one line, why it is not known. What makes no sense is left as it is.
    pub(crate) async fn read(&mut self) -> Result<Record, String> {
        let found = ask(ANSWER, self.api.get_opt(&self.name)).await.map_err(|e| e.explain(NEEDS))?;
        let text = found.and_then(|map| map.data).and_then(|mut data| data.remove(KEY));
        let record: Record = match &text {
            None => Record::default(),
            Some(text) => serde_json::from_str(text).map_err(|error| {
                format!("{KEY} makes no sense: {error}; remove it, and what was freed lately may be given again at once")
            })?,
        };
        self.written = text.is_some().then(|| record.clone());
        Ok(record)
    }

    /// # Errors
    ///
    /// In one line, why it could not be written.
    pub(crate) async fn write(&mut self, freed: Record) -> Result<(), String> {
        if self.written.as_ref() == Some(&freed) || self.written.is_none() && freed.is_empty() {
            return Ok(());
        }
        let text =
            serde_json::to_string(&freed).map_err(|error| format!("cannot be written down: {error}"))?;
        let patch = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": self.name},
            "data": BTreeMap::from([(KEY, text)]),
        });
        let params = PatchParams::apply(&self.manager).force();
        let patch = Patch::Apply(patch);
        let patched = ask(ANSWER, self.api.patch(&self.name, &params, &patch)).await;
        patched.map_err(|e| e.explain(NEEDS))?;
        self.written = Some(freed);
        Ok(())
    }
}
