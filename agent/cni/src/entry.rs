//! The plugin's own entry in the conflist: its whole configuration, written by the agent, read by the plugin.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// `type` of the entry, and so the name of the plugin's binary.
pub const TYPE: &str = "millstream-cni";

/// The capability by which containerd and CRI-O hand over a pod's annotations.
pub const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// Fields that it does not know are ignored: an agent that was rolled back may have left a newer entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Entry {
    /// Where the agent listens.
    pub run_dir: PathBuf,
    /// Where `standing.json` is. It must survive a reboot.
    pub state_dir: PathBuf,
    pub own: Own,
    pub when_unknown: WhenUnknown,
    /// Namespaces whose pods start whatever `when_unknown` says.
    pub except: Vec<String>,
    /// Makes the whole node unready while no agent answers: containerd from 2.0.1 on asks every few seconds.
    pub status_gates_node: bool,
    /// How long it waits for the agent. Only tests want it otherwise.
    #[serde(skip_serializing_if = "is_usual")]
    pub timeout_seconds: u64,
}

/// By what the agent's own pods are told: one that waited for the agent would wait for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Own {
    pub namespace: String,
    pub daemon_set: String,
}

/// What becomes of a pod of which nobody can say whether it is enrolled: its own labels are not visible to a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenUnknown {
    /// It starts, and is captured in place when the agent is back.
    #[default]
    Allow,
    Refuse,
}

#[derive(Serialize)]
struct Written<'a> {
    r#type: &'static str,
    capabilities: BTreeMap<&'static str, bool>,
    #[serde(flatten)]
    entry: &'a Entry,
}

const USUAL_TIMEOUT_SECONDS: u64 = 30;

/// The random letters that a DaemonSet's controller gives a pod.
const SUFFIX: usize = 5;

// === impl Entry ===

impl Entry {
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// As it stands in a conflist, on one line.
    pub(crate) fn json(&self) -> Result<String, serde_json::Error> {
        let capabilities = BTreeMap::from([(ANNOTATIONS, true)]);
        serde_json::to_string(&Written { r#type: TYPE, capabilities, entry: self })
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            run_dir: PathBuf::from("/run/millstream"),
            state_dir: PathBuf::from("/var/lib/millstream"),
            own: Own::default(),
            when_unknown: WhenUnknown::default(),
            except: Vec::new(),
            status_gates_node: false,
            timeout_seconds: USUAL_TIMEOUT_SECONDS,
        }
    }
}

// === impl Own ===

impl Own {
    pub fn is_agent(&self, namespace: &str, name: &str) -> bool {
        let suffix = name.strip_prefix(self.daemon_set.as_str()).and_then(|rest| rest.strip_prefix('-'));
        namespace == self.namespace
            && suffix.is_some_and(|s| s.len() == SUFFIX && s.bytes().all(|b| b.is_ascii_alphanumeric()))
    }
}

impl Default for Own {
    fn default() -> Self {
        Self { namespace: "millstream-system".to_owned(), daemon_set: "millstream".to_owned() }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_usual(timeout_seconds: &u64) -> bool {
    *timeout_seconds == USUAL_TIMEOUT_SECONDS
}
