//! The agent's own DaemonSet: an agent that ends while it exists comes back, or another one does; an agent that ends when it
//! is gone is to leave nothing behind.

use std::pin::pin;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, Client, runtime::watcher::watch_object};
use model::ObjectName;
use tokio::sync::watch;
use tracing::{debug, info};

use super::request::{ANSWER, ask};

/// Follows a DaemonSet.
#[derive(Clone)]
pub struct OwnDaemonSet {
    api: Api<DaemonSet>,
    name: ObjectName,
}

// === impl OwnDaemonSet ===

impl OwnDaemonSet {
    pub fn new(client: Client, name: ObjectName) -> Self {
        Self { api: Api::namespaced(client, &name.namespace), name }
    }

    /// Tells when it is deleted, or made again, until nobody receives it any more.
    ///
    /// Whoever deletes a whole release takes the agents' rights soon after it: a watch that stands hears of it in time.
    pub async fn follow(self, is_gone: watch::Sender<bool>) {
        let mut changes = pin!(watch_object(self.api, &self.name.name));
        loop {
            let change = tokio::select! {
                () = is_gone.closed() => return,
                change = changes.next() => change,
            };
            match change {
                Some(Ok(found)) => {
                    let gone = is_ending(found.as_ref());
                    if is_gone.send_replace(gone) != gone && gone {
                        info!(daemonset = %self.name, "It is being removed: when told to end, this agent leaves nothing behind");
                    }
                }
                Some(Err(error)) => debug!(daemonset = %self.name, %error, "Cannot be followed"),
                None => return,
            }
        }
    }

    /// As it is now.
    pub async fn is_gone(&self) -> Result<bool, String> {
        let found = ask(ANSWER / 6, self.api.get_opt(&self.name.name)).await;
        found.map(|found| is_ending(found.as_ref())).map_err(|e| e.explain("get on daemonsets"))
    }
}

impl std::fmt::Debug for OwnDaemonSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnDaemonSet").field("name", &self.name).finish_non_exhaustive()
    }
}

fn is_ending(found: Option<&DaemonSet>) -> bool {
    found.is_none_or(|daemon_set| daemon_set.metadata.deletion_timestamp.is_some())
}
