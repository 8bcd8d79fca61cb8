//! The objects of a cluster, as its API server tells them: listed once, then watched.
//!
//! ```text
//!  Namespaces ─ list, watch ─┐
//!  Pods       ─ list, watch ─┤ events ─► View (Index) ─► snapshot, at most one a breath
//!  …                         │
//!  other kinds ─ look, wait ─┘
//! ```
//!
//! Nothing is published before every watch has stood once: what is not known yet must not look like what is not there.
//! From then on the last good state of each kind is in force, whatever becomes of its watch. Of an object only that is
//! kept which the index reads, and from the moment it arrives.

use std::{fmt, future, path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
pub use kube::Client;
use model::Snapshot;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, spawn_blocking},
    time::{Instant, sleep_until},
};

use crate::{
    index::{Index, IndexConfig},
    publisher::Publisher,
    source::SourceReport,
};

mod allocator_notes;
mod backoff;
mod connect;
mod daemon_set;
mod entries;
mod event;
mod kinds;
mod lookup;
mod of;
mod request;
mod seen;
mod status_writer;
mod taint;
mod view;
mod watcher;
mod watches;

pub use self::{
    allocator_notes::{AllocatorNotes, AllocatorReport},
    connect::ConnectError,
    daemon_set::OwnDaemonSet,
    entries::EntriesSource,
    lookup::{LookupError, PodLookup},
    request::{ANSWER, RequestError, ask},
    status_writer::{StatusWriter, WriteError},
    taint::remove_startup_taint,
};
use self::{of::Of, view::View, watches::Watches};

/// After the first change, others are taken along for so long: most come in groups.
const BREATH: Duration = Duration::from_millis(10);
/// A large cluster takes long to join; so much of one processor's time at most goes into it.
const SHARE: u32 = 4;
const BREATH_MAX: Duration = Duration::from_secs(1);
/// Pages and changes on their way to the index.
const QUEUE: usize = 64;

/// A cluster, and which of its pods are to be captured. The annotation `millstream.dev/netns` is not honoured: who
/// may write a pod must not choose a path on its node.
#[derive(Clone)]
pub struct KubernetesSource {
    client: Client,
    config: IndexConfig,
}

// === impl KubernetesSource ===

impl KubernetesSource {
    /// Reads how to reach the API server, and does not reach for it yet.
    ///
    /// # Errors
    ///
    /// If that is not said anywhere, or makes no sense.
    pub async fn connect(kubeconfig: Option<&Path>, config: IndexConfig) -> Result<Self, ConnectError> {
        let config = IndexConfig { honour_netns_annotation: false, ..config };
        Ok(Self { client: connect::client(kubeconfig).await?, config })
    }

    /// For what else is asked or told of the same API server. It does not retry by itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// For a pod that must be known at once.
    pub fn lookup(&self) -> PodLookup {
        PodLookup { client: self.client.clone(), config: self.config.clone() }
    }

    /// Publishes a snapshot when every watch stands, and after each change that means something, until nobody receives
    /// them any more. A message on `reload` looks at once for kinds that were not served before.
    ///
    /// # Errors
    ///
    /// Only if one of its tasks died, which none should: an API server that fails is asked again.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn run(
        self,
        publish: watch::Sender<Arc<Snapshot>>,
        reports: watch::Sender<SourceReport>,
        reload: mpsc::Receiver<()>,
    ) -> Result<(), JoinError> {
        let index = Index::new(self.config);
        let client = self.client;
        let publisher = Arc::new(Publisher { snapshots: publish.clone(), reports });
        let (events, mut incoming) = mpsc::channel(QUEUE);
        let mut view = View::new(Of::Agent, index, Timestamp::now());
        let mut watches = Watches::begin(client, Of::Agent, events, reload);
        publisher.report(view.report());
        let mut breath = BREATH;
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                () = publish.closed() => return Ok(()),
                Some(event) = incoming.recv() => {
                    watches.follow(event, &mut view);
                    due.get_or_insert_with(|| Instant::now() + breath);
                }
                died = watches.died() => return Err(died),
                () = at(due) => {
                    let begun = Instant::now();
                    due = None;
                    publisher.report(view.report());
                    if view.is_synced() {
                        view = join(view, publisher.clone()).await?;
                    }
                    breath = (begun.elapsed() * SHARE).clamp(BREATH, BREATH_MAX);
                }
            }
        }
    }
}

impl fmt::Debug for KubernetesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesSource").finish_non_exhaustive()
    }
}

/// On a thread of its own: it can take as long as a connection may not wait.
async fn join(view: View, publisher: Arc<Publisher>) -> Result<View, JoinError> {
    let publish = move || {
        publisher.publish(|version| view.snapshot(version));
        view
    };
    spawn_blocking(publish).await
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => future::pending().await,
    }
}
