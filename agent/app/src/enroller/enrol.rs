//! Capturing: a pod that is wanted, again after a failure, and again when its addresses change.

use std::{path::PathBuf, sync::Arc, time::Instant};

use anyhow::{Context, Result};
use capture::{PodSpec, plan::Step};
use model::{Pod, PodUid, Snapshot};
use netns::Netns;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{
    BREATH, Event, Failure, LONGEST_BACKOFF, Managed, SWEEP, State, Work, chain, locate::Whereabouts,
};
use crate::{
    older::{self, reset_is_due},
    pods::Phase,
};

impl Work {
    pub(super) async fn enrol(&mut self, pod: &Pod, whereabouts: &Whereabouts) {
        if self.is_up_to_date(pod) {
            return;
        }
        match self.try_enrol(pod, whereabouts).await {
            Ok(()) => {
                self.failures.remove(&pod.uid);
                self.enroller.board.set(&pod.uid, Some(Phase::Captured));
            }
            Err(e) => self.note_failure(pod, &e),
        }
    }

    pub(super) async fn back_up(&self, uid: &PodUid) {
        if let Err(e) = self.enroller.capture.back_up(uid).await {
            warn!(%uid, error = chain(e), "Pod is captured, but packet sockets that skip the guard are not stopped");
        }
    }

    async fn try_enrol(&mut self, pod: &Pod, whereabouts: &Whereabouts) -> Result<()> {
        let began = Instant::now();
        let spec = self.spec(pod, whereabouts.of(pod)?)?;
        if self.managed.get(&pod.uid).is_some_and(|managed| managed.spec.netns != spec.netns) {
            self.forget(&pod.uid, "its network namespace is another one now").await;
        }
        let steps = self.enroller.capture.enrol(&spec, &self.enroller.listeners).await?;
        self.enroller.listeners.0.recapture(&spec.uid);
        let older = self.enroller.capture.older(&spec);
        let existing_connections = pod.existing_connections;
        let managed = Managed { spec, existing_connections, state: State::Captured };
        let known = self.managed.insert(pod.uid.clone(), managed);
        if known.is_none() {
            self.follow_addresses(&pod.uid).await;
        }
        info!(pod = %pod.name, uid = %pod.uid, by = %pod.enrolment, steps = steps.len(), took = ?began.elapsed(), "Pod captured");
        let begun = steps.iter().any(|step| matches!(step, Step::Begin { before: None, .. }));
        let before = known.filter(|k| k.state == State::Captured).map(|k| k.existing_connections);
        if reset_is_due(existing_connections, before, begun) {
            older::reset(&pod.name, older).await;
        }
        Ok(())
    }

    /// The descriptor of a namespace is kept once it is open: what the path names later does not matter.
    fn spec(&self, pod: &Pod, path: PathBuf) -> Result<PodSpec> {
        let netns = match self.managed.get(&pod.uid) {
            Some(managed) if managed.spec.netns_path == path => managed.spec.netns.clone(),
            _ => Arc::new(Netns::open(&path).context("its network namespace")?),
        };
        Ok(PodSpec {
            uid: pod.uid.clone(),
            name: pod.name.clone(),
            ips: pod.ips.clone(),
            netns_path: path,
            netns,
            when_agent_down: pod.when_agent_down,
            exclusions: pod.exclusions.clone(),
        })
    }

    pub(super) fn is_up_to_date(&self, pod: &Pod) -> bool {
        self.managed.get(&pod.uid).is_some_and(|Managed { spec, existing_connections, state }| {
            *state == State::Captured
                && pod.netns.as_ref().is_none_or(|path| *path == spec.netns_path)
                && spec.ips == pod.ips
                && spec.when_agent_down == pod.when_agent_down
                && spec.exclusions == pod.exclusions
                && *existing_connections == pod.existing_connections
        })
    }

    fn note_failure(&mut self, pod: &Pod, e: &anyhow::Error) {
        let failure =
            self.failures.entry(pod.uid.clone()).or_insert(Failure { tries: 0, next: Instant::now() });
        let backoff = SWEEP.saturating_mul(1 << failure.tries.min(5)).min(LONGEST_BACKOFF);
        failure.tries += 1;
        failure.next = Instant::now() + backoff;
        let reason = format!("{e:#}");
        let phase = Phase::Failed { reason };
        if self.enroller.board.read().get(&pod.uid) != Some(&phase) {
            warn!(pod = %pod.name, uid = %pod.uid, error = %format_args!("{e:#}"), "Pod cannot be captured");
        }
        self.enroller.board.set(&pod.uid, Some(phase));
    }

    /// Something in the pod changed: brings sysctls, rules, routes and maps up to date.
    pub(super) async fn refresh(&mut self, uid: &PodUid) {
        let Some(managed) = self.managed.get(uid) else {
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
        if let Err(e) = self.enroller.capture.enrol(&spec, &self.enroller.listeners).await {
            warn!(pod = %spec.name, error = chain(e), "Changes in the pod could not be followed");
        }
        self.back_up(uid).await;
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
        let now = Instant::now();
        let is_due = |uid: &PodUid| self.failures.get(uid).is_some_and(|failure| failure.next <= now);
        let pods: Vec<_> = self.wanted(snapshot).into_iter().filter(|pod| is_due(&pod.uid)).collect();
        let whereabouts = self.locate(&pods).await;
        for pod in pods {
            self.enrol(&pod, &whereabouts).await;
            self.back_up(&pod.uid).await;
        }
    }
}
