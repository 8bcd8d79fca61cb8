//! What became of each pod of the node.

use std::{collections::BTreeMap, sync::Arc};

use model::PodUid;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Where a pod stands. A pod that nobody wants captured has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Phase {
    Captured,
    /// Nothing new is captured; what was goes on until it ends or the drain time is over.
    Releasing,
    /// It should be captured and is not. Tried again by itself.
    Failed {
        cause: Cause,
        reason: String,
    },
}

/// Why a pod is not captured that a label asks for: the label `reason` of the metric `millstream_uncaptured_pods`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It has no network namespace of its own, so no agent ever will.
    HostNetwork,
    /// No process of it shows where its network namespace is.
    NetnsNotFound,
    /// Something went wrong in its namespace.
    CaptureFailed,
}

pub type Phases = Arc<BTreeMap<PodUid, Phase>>;

/// Publishes the phases; readers wait on them.
#[derive(Clone, Debug)]
pub struct PhaseBoard(Arc<watch::Sender<Phases>>);

// === impl PhaseBoard ===

impl PhaseBoard {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phases::default())))
    }

    pub fn set(&self, uid: &PodUid, phase: Option<Phase>) {
        self.0.send_if_modified(|phases| {
            if phases.get(uid) == phase.as_ref() {
                return false;
            }
            let phases = Arc::make_mut(phases);
            match phase {
                Some(phase) => phases.insert(uid.clone(), phase),
                None => phases.remove(uid),
            };
            true
        });
    }

    pub fn read(&self) -> Phases {
        self.0.borrow().clone()
    }

    pub fn watch(&self) -> watch::Receiver<Phases> {
        self.0.subscribe()
    }
}

impl Default for PhaseBoard {
    fn default() -> Self {
        Self::new()
    }
}
