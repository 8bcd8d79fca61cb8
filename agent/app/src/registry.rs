//! Keeps the kernel's registry, by which pods with the outbound traffic policy `REGISTRY_ONLY` are refused at
//! `connect(2)`, up to date: before anybody else hears of a snapshot, so that what a name stands for can be dialled as
//! soon as it is told.

use std::sync::Arc;

use anyhow::anyhow;
use capture::Capture;
use model::{OutboundPolicy, Snapshot};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::tenure::Tenure;

pub(crate) struct Registry {
    pub(crate) node: Arc<str>,
    pub(crate) capture: Arc<Capture>,
    /// Without it nothing is written.
    pub(crate) tenure: Tenure,
}

// === impl Registry ===

impl Registry {
    /// The snapshots, each once the kernel knows what it needs of it.
    pub(crate) fn precede(
        self,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
    ) -> watch::Receiver<Arc<Snapshot>> {
        let first = snapshots.borrow_and_update().clone();
        let mut trouble = None;
        self.enter(&first, &mut trouble);
        let (publish, told) = watch::channel(first);
        tokio::spawn(async move {
            while snapshots.changed().await.is_ok() && !publish.is_closed() {
                let snapshot = snapshots.borrow_and_update().clone();
                self.enter(&snapshot, &mut trouble);
                publish.send_replace(snapshot);
            }
        });
        told
    }

    /// Some hundred thousand entries take a fifth of a second, once; after that it is what has changed.
    fn enter(&self, snapshot: &Snapshot, trouble: &mut Option<String>) {
        if !self.tenure.holds() {
            return;
        }
        let registered = self.is_needed(snapshot).then(|| snapshot.registered());
        let result = self.capture.set_registry(registered);
        let error = result.err().map(|error| format!("{:#}", anyhow!(error)));
        match &error {
            Some(error) if *trouble != Some(error.clone()) => {
                warn!(error, "REGISTRY_ONLY is enforced by the proxy alone, once it has the connection");
            }
            None if trouble.is_some() => info!("REGISTRY_ONLY is enforced at connect(2) again"),
            _ => {}
        }
        *trouble = error;
    }

    fn is_needed(&self, snapshot: &Snapshot) -> bool {
        let pods = snapshot.pods_on(&self.node);
        pods.iter().any(|pod| pod.is_enrolled() && pod.outbound_policy == OutboundPolicy::RegistryOnly)
    }
}
