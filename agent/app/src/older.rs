//! Connections older than the capture of their pod: counted when somebody asks, reset when the pod asks for it.
//! The kernel is asked on a thread that may wait.

use std::{collections::BTreeMap, sync::Arc};

use capture::{
    Error, Older, Pins,
    journal::{Entry, Journal},
    maps::Maps,
};
use model::{ExistingConnections, ObjectName, PodUid};
use netns::Netns;
use tokio::task::spawn_blocking;
use tracing::{debug, info, warn};

use crate::run_dir::{AgentFile, RunDir};

/// Once: when capture begins, or when it is asked for later. `before` is the wish of a pod that was captured already;
/// one that an earlier agent captured has none, and its capture does not begin.
pub(crate) fn reset_is_due(
    wish: ExistingConnections,
    before: Option<ExistingConnections>,
    begun: bool,
) -> bool {
    use ExistingConnections::{Keep, Reset};
    match (wish, before) {
        (Keep, _) | (Reset, Some(Reset)) => false,
        (Reset, Some(Keep)) => true,
        (Reset, None) => begun,
    }
}

/// How many each captured pod has. A pod whose connections cannot be counted is left out.
pub(crate) async fn counts(run_dir: &RunDir, agent: &AgentFile) -> BTreeMap<PodUid, usize> {
    let (journal, pins) = (Journal::new(&run_dir.journal()), Pins::of_node(&agent.node));
    wait_for(move || {
        let maps = Maps::open(&pins)?;
        let (entries, _) = journal.all();
        let counted = entries.into_iter().filter_map(|entry| {
            let count = count_of(&maps, &entry);
            let count =
                count.inspect_err(|error| debug!(pod = %entry.pod, %error, "Cannot count connections"));
            Some((entry.uid, count.ok()??))
        });
        Ok(counted.collect())
    })
    .await
    .unwrap_or_else(|error| {
        debug!(%error, "Cannot count older connections");
        BTreeMap::new()
    })
}

/// How many there are; `None` where that cannot be told.
pub(crate) async fn count(older: Older) -> Option<usize> {
    let count = wait_for(move || older.count()).await;
    count.inspect_err(|error| debug!(%error, "Cannot count older connections")).ok()
}

pub(crate) async fn reset(pod: &ObjectName, older: Result<Older, Error>) {
    let reset = match older {
        Ok(older) => wait_for(move || older.reset()).await,
        Err(e) => Err(e),
    };
    match reset {
        Ok(connections) => info!(%pod, connections, "Connections older than capture reset"),
        Err(e) => {
            let error = format!("{:#}", anyhow::Error::from(e));
            warn!(%pod, error, "Connections older than capture could not be reset, and are kept");
        }
    }
}

/// `None` for a pod that is not captured.
fn count_of(maps: &Maps, entry: &Entry) -> Result<Option<usize>, Error> {
    let netns = Netns::open(&entry.netns)?;
    if netns.cookie() != entry.netns_cookie || maps.pod(entry.netns_cookie)?.is_none() {
        return Ok(None);
    }
    Older::of(Arc::new(netns), maps, entry.steering.marks)?.count().map(Some)
}

async fn wait_for<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match spawn_blocking(ask).await {
        Ok(answer) => answer,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is ending, and so are we.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests;
