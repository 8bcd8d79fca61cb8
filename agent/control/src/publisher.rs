//! The two channels of a source: what it makes of its objects, and what it has to say of them.

use std::sync::Arc;

use model::Snapshot;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::source::SourceReport;

#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) snapshots: watch::Sender<Arc<Snapshot>>,
    pub(crate) reports: watch::Sender<SourceReport>,
}

// === impl Publisher ===

impl Publisher {
    /// Before the snapshot: who sees it sees also what is missing from it.
    pub(crate) fn report(&self, report: SourceReport) {
        self.reports.send_if_modified(|known| {
            for refusal in report.refusals.iter().filter(|refusal| !known.refusals.contains(refusal)) {
                warn!(%refusal, "Refused");
            }
            for trouble in report.troubles.iter().filter(|trouble| trouble.error.is_some()) {
                let said =
                    known.troubles.iter().any(|t| (&t.watch, &t.error) == (&trouble.watch, &trouble.error));
                if !said {
                    warn!(%trouble, "Watch");
                }
            }
            for past in known.troubles.iter().filter(|past| past.error.is_some()) {
                if !report.troubles.iter().any(|trouble| trouble.watch == past.watch) {
                    info!(watch = past.watch, since = %past.since, "The watch stands again");
                }
            }
            let changed = *known != report;
            *known = report;
            changed
        });
    }

    /// Only what says something new gets a version of its own. Made before it is sent: to join a large cluster takes
    /// long, and nobody may wait for it who reads the last one.
    pub(crate) fn publish(&self, snapshot: impl FnOnce(u64) -> Arc<Snapshot>) {
        let known = self.snapshots.borrow().clone();
        let next = snapshot(known.version + 1);
        if known.version != 0 && next.same_content(&known) {
            return;
        }
        info!(version = next.version, pods = next.pod_count(), services = next.service_count(), "Snapshot");
        self.snapshots.send_replace(next);
    }
}
