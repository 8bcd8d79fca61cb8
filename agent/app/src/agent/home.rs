//! The DaemonSet that the agent runs in: does it end to be replaced, or for good?

use control::kubernetes::{Client, OwnDaemonSet};
use model::ObjectName;
use tokio::sync::watch;
use tracing::warn;

#[derive(Debug)]
pub(super) struct Home {
    daemon_set: OwnDaemonSet,
    is_gone: watch::Receiver<bool>,
}

// === impl Home ===

impl Home {
    pub(super) fn follow(client: Client, name: ObjectName) -> Self {
        let daemon_set = OwnDaemonSet::new(client, name);
        let (gone, is_gone) = watch::channel(false);
        tokio::spawn(daemon_set.clone().follow(gone));
        Self { daemon_set, is_gone }
    }

    /// In doubt it is not: pods that stay captured can be released, and those that were let go cannot be taken back.
    pub(super) async fn is_gone(&self) -> bool {
        if *self.is_gone.borrow() {
            return true;
        }
        self.daemon_set.is_gone().await.unwrap_or_else(|error| {
            warn!(
                error,
                "Whether the agents are being removed cannot be told: everything stays in place for the next one; if there \
                 is none, run `millstream cleanup` on this node"
            );
            false
        })
    }
}
