//! Tells the cluster which pods of the node are captured: Istio's annotation `ambient.istio.io/redirection`, written
//! last, once it is true; and an Event where a pod cannot be captured.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use control::kubernetes::{StatusWriter, WriteError};
use model::{Enrolment, Pod, PodUid, Snapshot, Uncaptured};
use tokio::{sync::watch, time::sleep};
use tracing::{debug, warn};

use crate::pods::{Phase, PhaseBoard, Phases};

/// Istio's: captured, and wanted captured but not there yet.
const ENABLED: &str = "enabled";
const PENDING: &str = "pending";

/// Between tries, where the API server did not take something.
const BACKOFF: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Redirection {
    pub(crate) node: Arc<str>,
    pub(crate) writer: StatusWriter,
    pub(crate) board: PhaseBoard,
    /// Why the cluster is not told; `None` while all is well.
    pub(crate) trouble: watch::Sender<Option<String>>,
    /// Pods that have started without being captured first.
    pub(crate) late: watch::Receiver<BTreeSet<PodUid>>,
    /// Whether the agent is to leave nothing behind.
    pub(crate) leaving: watch::Receiver<Option<Duration>>,
}

/// What was told.
#[derive(Debug, Default)]
struct Told {
    /// Annotations that were written, and that the watch has not shown yet.
    annotations: HashMap<PodUid, Option<&'static str>>,
    /// The reason in the last Event of each pod that is not captured.
    failures: HashMap<PodUid, String>,
    late: BTreeSet<PodUid>,
}

// === impl Redirection ===

impl Redirection {
    /// Works until nobody publishes snapshots any more, or the last annotation is gone because the agent leaves.
    pub(crate) async fn run(mut self, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let mut board = self.board.watch();
        let mut late = self.late.clone();
        let mut told = Told::default();
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            let phases = board.borrow_and_update().clone();
            let result = self.tell(&snapshot, &phases, &mut told).await;
            let has_failed = result.is_err();
            self.note(result.err());
            if !has_failed && self.leaving.borrow().is_some() {
                return;
            }
            tokio::select! {
                Ok(()) = self.leaving.changed() => {}
                changed = snapshots.changed() => if changed.is_err() { return },
                _ = board.changed() => {}
                Ok(()) = late.changed() => {}
                () = sleep(BACKOFF), if has_failed => {}
            }
        }
    }

    /// Goes on after a failure, and returns the first. Who does not answer is not asked again for the next pod.
    async fn tell(&self, snapshot: &Snapshot, phases: &Phases, told: &mut Told) -> Result<(), WriteError> {
        told.forget(snapshot, phases);
        let mut result = Ok(());
        for pod in snapshot.pods_on(&self.node) {
            let phase = phases.get(&pod.uid);
            let annotated = self.annotate(pod, phase, told).await;
            result = result.and(annotated);
            if let Some(Phase::Failed { reason, .. }) = phase {
                let complained = self.complain(pod, reason, told).await;
                result = result.and(complained);
            }
            if self.late.borrow().contains(&pod.uid) && !told.late.contains(&pod.uid) {
                let written = self.writer.captured_late(&pod.name, &pod.uid).await;
                if written.is_ok() {
                    told.late.insert(pod.uid.clone());
                }
                result = result.and(written);
            }
            if matches!(result, Err(WriteError::Silent { .. })) {
                return result;
            }
        }
        result
    }

    async fn annotate(&self, pod: &Pod, phase: Option<&Phase>, told: &mut Told) -> Result<(), WriteError> {
        let known = told.annotations.get(&pod.uid).copied().unwrap_or(pod.redirection.as_deref());
        let wanted = if self.leaving.borrow().is_some() { Some(None) } else { wanted(pod, phase) };
        let Some(value) = wanted.filter(|value| *value != known) else { return Ok(()) };
        self.writer.annotate(&pod.name, &pod.uid, value).await?;
        debug!(pod = %pod.name, value, "Annotation written");
        told.annotations.insert(pod.uid.clone(), value);
        Ok(())
    }

    async fn complain(&self, pod: &Pod, reason: &str, told: &mut Told) -> Result<(), WriteError> {
        if told.failures.get(&pod.uid).is_some_and(|known| known == reason) {
            return Ok(());
        }
        self.writer.not_captured(&pod.name, &pod.uid, reason).await?;
        told.failures.insert(pod.uid.clone(), reason.to_owned());
        Ok(())
    }

    fn note(&self, error: Option<WriteError>) {
        let trouble = error.map(|error| format!("{:#}", anyhow::Error::from(error)));
        self.trouble.send_if_modified(|known| {
            let is_new = *known != trouble;
            if let Some(error) = trouble.as_ref().filter(|_| is_new) {
                warn!(error, "The cluster cannot be told which pods are captured");
            }
            *known = trouble;
            is_new
        });
    }
}

// === impl Told ===

impl Told {
    /// What the watch shows by now, and what is over.
    fn forget(&mut self, snapshot: &Snapshot, phases: &Phases) {
        self.annotations
            .retain(|uid, value| snapshot.pod(uid).is_some_and(|pod| pod.redirection.as_deref() != *value));
        self.failures.retain(|uid, _| matches!(phases.get(uid), Some(Phase::Failed { .. })));
    }
}

/// What the annotation should say; the outer `None`: leave it as it is.
fn wanted(pod: &Pod, phase: Option<&Phase>) -> Option<Option<&'static str>> {
    match (phase, &pod.enrolment) {
        (Some(Phase::Captured), _) => Some(Some(ENABLED)),
        (Some(Phase::Failed { .. }), Enrolment::Enrolled(_)) => Some(Some(PENDING)),
        // It is about to be captured, or an agent before this one has done it already.
        (None, Enrolment::Enrolled(_)) => None,
        // A pod that has finished keeps what it had: nobody asks any more.
        (_, Enrolment::NotEnrolled(Uncaptured::Terminal)) => None,
        (Some(Phase::Releasing | Phase::Failed { .. }) | None, _) => Some(None),
    }
}

#[cfg(test)]
mod tests;
