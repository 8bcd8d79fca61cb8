//! What the plugin goes by while no agent answers: a small file that the agent keeps, and the decision.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use model::WhenAgentDown;
use serde::{Deserialize, Serialize};

use crate::{
    entry::{Entry, WhenUnknown},
    file::{self, Guise},
};

/// The file's name in the state directory.
pub const FILE: &str = "standing.json";

/// The namespaces that are enrolled, and no others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub namespaces: BTreeMap<String, WhenAgentDown>,
}

/// What reading it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    Standing(Standing),
    /// No agent has ever run here, or somebody emptied the directory.
    Missing,
    Damaged {
        file: PathBuf,
        problem: String,
    },
}

/// Of the pod, what a plugin is told.
#[derive(Clone, Copy, Debug)]
pub struct PodFacts<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub annotations: &'a BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It starts uncaptured. If it should not be so, the agent mends it when it is back.
    Pass,
    Refuse {
        why: String,
        remedy: String,
    },
}

/// A sidecar captures for itself; the same rule as the agent's.
const SIDECAR_STATUS: &str = "sidecar.istio.io/status";

/// Without its pods there may be no cluster for the agent to come back to.
const SYSTEM: &str = "kube-system";

// === impl Standing ===

impl Standing {
    /// Atomically. The directory is made if it is not there.
    pub fn write(&self, state_dir: &Path) -> io::Result<()> {
        fs::create_dir_all(state_dir)?;
        file::replace(&state_dir.join(FILE), &serde_json::to_vec(self)?, Guise { mode: 0o600, owner: None })
    }

    pub fn read(state_dir: &Path) -> Known {
        let file = state_dir.join(FILE);
        let problem = match fs::read(&file) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(standing) => return Known::Standing(standing),
                Err(error) => format!("is damaged: {error}"),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Known::Missing,
            Err(error) => format!("cannot be read: {error}"),
        };
        Known::Damaged { file, problem }
    }
}

// === impl PodFacts ===

impl PodFacts<'_> {
    /// Whether it is one of the agent's own pods, which never wait: not for the agent either.
    pub fn is_agent(&self, entry: &Entry) -> bool {
        entry.own.is_agent(self.namespace, self.name)
    }
}

/// Whether a pod may start though no agent answers.
pub fn decide(known: &Known, entry: &Entry, pod: PodFacts<'_>) -> Decision {
    if pod.is_agent(entry) || pod.annotations.contains_key(SIDECAR_STATUS) {
        return Decision::Pass;
    }
    let own = pod.namespace == entry.own.namespace;
    let enrolled = match known {
        Known::Damaged { file, problem } if !own && pod.namespace != SYSTEM => {
            return refuse_unread(file, problem, entry);
        }
        Known::Standing(standing) => standing.namespaces.get(pod.namespace),
        Known::Missing | Known::Damaged { .. } => None,
    };
    if enrolled == Some(&WhenAgentDown::Closed) {
        return refuse_closed(pod, entry);
    }
    let listed = own || entry.except.iter().any(|namespace| namespace == pod.namespace);
    match (entry.when_unknown, known) {
        // Its own pods and those of the cluster; anybody else was refused above.
        (_, Known::Damaged { .. }) | (WhenUnknown::Allow, _) => Decision::Pass,
        (WhenUnknown::Refuse, _) if listed => Decision::Pass,
        (WhenUnknown::Refuse, _) => refuse_unknown(pod, entry),
    }
}

fn refuse_closed(pod: PodFacts<'_>, entry: &Entry) -> Decision {
    Decision::Refuse {
        why: format!(
            "the Millstream agent of this node is not running or does not answer, and pods of namespace {} must not start outside the \
             mesh (millstream.dev/when-agent-down: closed)",
            pod.namespace
        ),
        remedy: look_at_agent(entry),
    }
}

fn refuse_unknown(pod: PodFacts<'_>, entry: &Entry) -> Decision {
    Decision::Refuse {
        why: format!(
            "the Millstream agent of this node is not running or does not answer, nobody else can tell whether pod {}/{} belongs to \
             the mesh, and cni.whenUnknown is refuse",
            pod.namespace, pod.name
        ),
        remedy: format!(
            "{}. Or list the namespace under cni.except, if its pods never belong to the mesh",
            look_at_agent(entry)
        ),
    }
}

fn refuse_unread(file: &Path, problem: &str, entry: &Entry) -> Decision {
    Decision::Refuse {
        why: format!(
            "the Millstream agent of this node is not running or does not answer, and {}, which says what holds meanwhile, {problem}",
            file.display()
        ),
        remedy: format!(
            "{}; the agent writes the file anew. Or remove it: then cni.whenUnknown decides for every pod",
            look_at_agent(entry)
        ),
    }
}

fn look_at_agent(entry: &Entry) -> String {
    format!(
        "see how it is: kubectl get pods -n {} -o wide; the kubelet tries again by itself",
        entry.own.namespace
    )
}

#[cfg(test)]
mod tests;
