//! The ServiceEntries of a cluster, for whoever gives their hosts addresses.

use std::{fmt, path::Path, sync::Arc};

use jiff::Timestamp;
use kube::Client;
use tokio::{
    sync::{mpsc, watch},
    task::JoinError,
    time::Instant,
};

use super::{BREATH_MAX, ConnectError, QUEUE, at, connect, of::Of, view::View, watches::Watches};
use crate::{
    entries::Entries,
    index::{Index, IndexConfig},
    kind::Kind,
    publisher::Publisher,
    source::SourceReport,
};

/// Follows them, and the Services.
#[derive(Clone)]
pub struct EntriesSource {
    client: Client,
    config: IndexConfig,
}

// === impl EntriesSource ===

impl EntriesSource {
    /// Reads how to reach the API server, and does not reach for it yet.
    ///
    /// # Errors
    ///
    /// If that is not said anywhere, or makes no sense.
    pub async fn connect(kubeconfig: Option<&Path>, config: IndexConfig) -> Result<Self, ConnectError> {
        Ok(Self { client: connect::client(kubeconfig).await?, config })
    }

    /// For what else is asked or told of the same API server. It does not retry by itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Publishes them when every watch stands, and after each change, until nobody receives them any more. What is
    /// wrong is logged.
    ///
    /// # Errors
    ///
    /// Only if one of its tasks died, which none should: an API server that fails is asked again.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn run(self, publish: watch::Sender<Option<Arc<Entries>>>) -> Result<(), JoinError> {
        let (events, mut incoming) = mpsc::channel(QUEUE);
        // Nobody asks for a look at once.
        let (_never, reload) = mpsc::channel(1);
        let mut view = View::new(Of::Entries, Index::new(self.config), Timestamp::now());
        let mut watches = Watches::begin(self.client, Of::Entries, events, reload);
        let reports = watch::Sender::new(SourceReport::default());
        let publisher = Publisher { snapshots: watch::Sender::default(), reports };
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                () = publish.closed() => return Ok(()),
                Some(event) = incoming.recv() => {
                    watches.follow(event, &mut view);
                    // Nobody waits for a moment, and what is written comes back as a change.
                    due.get_or_insert_with(|| Instant::now() + BREATH_MAX / 10);
                }
                died = watches.died() => return Err(died),
                () = at(due) => {
                    due = None;
                    publisher.report(view.report());
                    let entries = view.entries(watches.resource(Kind::ServiceEntry).cloned());
                    if let Some(entries) = entries {
                        publish.send_if_modified(|known| {
                            let is_new = known.as_deref() != Some(&entries);
                            *known = Some(Arc::new(entries));
                            is_new
                        });
                    }
                }
            }
        }
    }
}

impl fmt::Debug for EntriesSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntriesSource").finish_non_exhaustive()
    }
}
