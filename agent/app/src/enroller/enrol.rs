//! Capturing: a pod that is wanted, again after a failure, and again when its addresses change.

use std::{path::PathBuf, sync::Arc, time::Instant};

use capture::{PodSpec, plan::Step};
use model::{Pod, PodUid, Snapshot};
use netns::Netns;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::{
    BREATH, Event, Failure, LONGEST_BACKOFF, Managed, SWEEP, State, TRIES_AFTER_CAPTURE, Work, chain,
    locate::{NotFound, Whereabouts},
};
use crate::{
    older::{self, reset_is_due},
    pods::{Cause, Phase},
};

/// Why a pod was not captured this time.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnrolError {
    #[error(transparent)]
    NotFound(#[from] NotFound),
    #[error("its network namespace")]
    Netns(#[from] netns::Error),
    #[error(transparent)]
    Capture(#[from] capture::Error),
}

impl Work {
    pub(super) async fn enrol(&mut self, pod: &Arc<Pod>, whereabouts: &Whereabouts) {
        if self.is_up_to_date(pod) {
            return;
        }
        match self.try_enrol(pod, whereabouts).await {
            Ok(()) => {
                self.failures.remove(&pod.uid);
                self.enroller.board.set(&pod.uid, Some(Phase::Captured));
            }
            Err(e) => self.note_failure(pod, e),
        }
    }

    pub(super) async fn back_up(&self, uid: &PodUid) {
        if let Err(e) = self.enroller.capture.back_up(uid).await {
            warn!(%uid, error = chain(e), "Pod is captured, but packet sockets that skip the guard are not stopped");
        }
    }

    async fn try_enrol(&mut self, pod: &Pod, whereabouts: &Whereabouts) -> Result<(), EnrolError> {
        let began = Instant::now();
        let spec = self.spec(pod, whereabouts.of(pod)?)?;
        if self.managed.get(&pod.uid).is_some_and(|managed| managed.spec.netns != spec.netns) {
            self.forget(&pod.uid, "its network namespace is another one now").await;
        }
        let steps = self.enroller.capture.enrol(&spec, &self.enroller.listeners).await?;
        self.enroller.listeners.0.recapture(&spec.uid);
        let older = self.enroller.capture.older(&spec);
        self.has_worked = true;
        let existing_connections = pod.existing_connections;
        let managed = Managed { spec, existing_connections, state: State::Captured, stumbled: None };
        let known = self.managed.insert(pod.uid.clone(), managed);
        if known.is_none() {
            self.follow_addresses(&pod.uid).await;
        }
        info!(pod = %pod.name, uid = %pod.uid, by = %pod.enrolment, steps = steps.len(), took = ?began.elapsed(), "Pod captured");
        let begun = steps.iter().any(|step| matches!(step, Step::Begin { before: None, .. }));
        let before = known.filter(|k| k.state == State::Captured).map(|k| k.existing_connections);
        if begun
            && !self.excused.contains(&pod.uid)
            && let Some(late) = &self.enroller.late
        {
            late.send_modify(|late| {
                late.insert(pod.uid.clone());
            });
        }
        if reset_is_due(existing_connections, before, begun) {
            older::reset(&pod.name, older).await;
        }
        Ok(())
    }

    /// The descriptor of a namespace is kept once it is open: what the path names later does not matter.
    fn spec(&self, pod: &Pod, path: PathBuf) -> Result<PodSpec, netns::Error> {
        let netns = match self.managed.get(&pod.uid) {
            Some(managed) if managed.spec.netns_path == path => managed.spec.netns.clone(),
            _ => Arc::new(Netns::open(&path)?),
        };
        Ok(PodSpec {
            uid: pod.uid.clone(),
            name: pod.name.clone(),
            ips: pod.ips.clone(),
            netns_path: path,
            netns,
            when_agent_down: pod.when_agent_down,
            captures_dns: pod.dns.captured,
            outbound_policy: pod.outbound_policy,
            exclusions: pod.exclusions.clone(),
        })
    }

    pub(super) fn is_up_to_date(&self, pod: &Pod) -> bool {
        self.managed.get(&pod.uid).is_some_and(|Managed { spec, existing_connections, state, .. }| {
            *state == State::Captured
                && pod.netns.as_ref().is_none_or(|path| *path == spec.netns_path)
                && spec.ips == pod.ips
                && spec.when_agent_down == pod.when_agent_down
                && spec.captures_dns == pod.dns.captured
                && spec.outbound_policy == pod.outbound_policy
                && spec.exclusions == pod.exclusions
                && *existing_connections == pod.existing_connections
        })
    }

    /// Not all is news: what becomes of a pod that ends is seen here before the cluster tells it.
    fn note_failure(&mut self, pod: &Arc<Pod>, e: EnrolError) {
        let (cause, reason) = (e.cause(), chain(e));
        let failure = self.failures.entry(pod.uid.clone()).or_insert_with(Failure::first);
        let backoff = SWEEP.saturating_mul(1 << failure.tries.min(5)).min(LONGEST_BACKOFF);
        failure.tries += 1;
        failure.next = Instant::now() + backoff;
        failure.pod = Some(pod.clone());
        if pod.terminating || failure.was_captured && failure.tries < TRIES_AFTER_CAPTURE {
            debug!(pod = %pod.name, uid = %pod.uid, error = reason, "Pod seems to end");
            self.enroller.board.set(&pod.uid, None);
            return;
        }
        let phase = Phase::Failed { cause, reason: reason.clone() };
        if self.enroller.board.read().get(&pod.uid) != Some(&phase) {
            warn!(pod = %pod.name, uid = %pod.uid, error = reason, "Pod cannot be captured");
        }
        self.enroller.board.set(&pod.uid, Some(phase));
    }

    /// Whether it is time to try a pod, again or for the first time.
    pub(super) fn is_due(&self, pod: &Pod) -> bool {
        self.failures.get(&pod.uid).is_none_or(|failure| {
            failure.next <= Instant::now() || failure.pod.as_deref().is_some_and(|known| known != pod)
        })
    }

    /// Something in the pod changed: brings sysctls, rules, routes and maps up to date.
    pub(super) async fn refresh(&mut self, uid: &PodUid) {
        let Some(managed) = self.managed.get_mut(uid) else {
            return;
        };
        let assigned = self.enroller.capture.assigned(uid).await.unwrap_or_default();
        if assigned.iter().all(std::net::IpAddr::is_loopback) {
            self.forget(uid, "it has no interface any more").await;
            return;
        }
        if managed.state != State::Captured {
            return;
        }
        let spec = managed.spec.clone();
        let followed = self.enroller.capture.enrol(&spec, &self.enroller.listeners).await;
        match (followed, managed.stumbled) {
            (Ok(_), _) => managed.stumbled = None,
            // A pod that ends loses its interfaces step by step: only what goes on failing is news.
            (Err(_), None) => {
                managed.stumbled = Some(Instant::now());
                self.look_later(uid);
            }
            (Err(e), Some(since)) if SWEEP <= since.elapsed() => {
                warn!(pod = %spec.name, error = chain(e), "Changes in the pod could not be followed");
            }
            (Err(_), Some(_)) => {}
        }
        self.back_up(uid).await;
    }

    fn look_later(&self, uid: &PodUid) {
        let (uid, events) = (uid.clone(), self.events.clone());
        tokio::spawn(async move {
            sleep(SWEEP).await;
            let _agent_ended = events.send(Event::Changed(uid));
        });
    }

    async fn follow_addresses(&self, uid: &PodUid) {
        let Some(mut changes) = self.enroller.capture.changes(uid).await else {
            return;
        };
        let (uid, events) = (uid.clone(), self.events.clone());
        tokio::spawn(async move {
            while changes.changed().await.is_ok() && events.send(Event::Changed(uid.clone())).is_ok() {
                // A pod that changes without end must not keep the enroller from the others.
                sleep(BREATH).await;
            }
        });
    }

    pub(super) async fn retry(&mut self, snapshot: &Snapshot) {
        let has_failed = |pod: &Arc<Pod>| self.failures.contains_key(&pod.uid) && self.is_due(pod);
        let pods: Vec<_> = self.wanted(snapshot).into_iter().filter(has_failed).collect();
        let whereabouts = self.locate(&pods).await;
        for pod in pods {
            self.enrol(&pod, &whereabouts).await;
            self.back_up(&pod.uid).await;
        }
    }
}

// === impl EnrolError ===

impl EnrolError {
    fn cause(&self) -> Cause {
        match self {
            Self::NotFound(_) => Cause::NetnsNotFound,
            Self::Netns(_) | Self::Capture(_) => Cause::CaptureFailed,
        }
    }
}
