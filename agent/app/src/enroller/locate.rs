//! Finding: where the network namespace of a pod is.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use model::{Pod, PodUid};
use netns::search;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::Work;

/// The pod is on this node and no process shows it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "its network namespace was not found: no process is in a cgroup of its UID. Does the agent see the processes of the \
     node (hostPID)? A sandboxed runtime shows none. In a folder of manifests the annotation millstream.dev/netns: PATH \
     names it"
)]
pub(super) struct NotFound;

/// What was found, of the pods that were asked for.
#[derive(Debug, Default)]
pub(super) struct Whereabouts(HashMap<PodUid, PathBuf>);

// === impl Work ===

impl Work {
    /// Looks through all processes at most once, and not at all where the source knows.
    pub(super) async fn locate(&self, pods: &[Arc<Pod>]) -> Whereabouts {
        let unknown: HashMap<Arc<str>, PodUid> = pods
            .iter()
            .filter(|pod| pod.netns.is_none())
            .map(|pod| (runtime_uid(pod), pod.uid.clone()))
            .collect();
        if unknown.is_empty() {
            return Whereabouts::default();
        }
        let search = spawn_blocking(move || {
            let found = search::of_pods(unknown.keys().map(AsRef::as_ref))?;
            Ok(found.into_iter().map(|(uid, path)| (unknown[uid].clone(), path)).collect())
        });
        let found: std::io::Result<_> = search.await.unwrap_or_else(|e| Err(std::io::Error::other(e)));
        Whereabouts(found.unwrap_or_else(|error| {
            warn!(%error, "Cannot look for the processes of pods in /proc");
            HashMap::new()
        }))
    }
}

fn runtime_uid(pod: &Pod) -> Arc<str> {
    pod.runtime_uid.clone().unwrap_or_else(|| pod.uid.0.clone())
}

// === impl Whereabouts ===

impl Whereabouts {
    pub(super) fn of(&self, pod: &Pod) -> Result<PathBuf, NotFound> {
        pod.netns.as_ref().or_else(|| self.0.get(&pod.uid)).cloned().ok_or(NotFound)
    }
}
