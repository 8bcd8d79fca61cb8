//! Arriving: a pod that the CNI plugin tells of is captured before its first container starts, and so before the
//! snapshots show its addresses.

use std::sync::Arc;

use model::{Enrolment, Pod, Snapshot, Uncaptured, WhenAgentDown};
use tracing::warn;

use super::{Work, chain, locate::Whereabouts, release::inode};
use crate::{arrivals::Arrival, pods::Phase};

impl Work {
    pub(super) async fn welcome(&mut self, arrival: Arrival) {
        let Arrival { pod, captured } = arrival;
        let pod = Arc::new(pod);
        self.arrived.insert(pod.uid.clone(), pod.clone());
        self.excused.insert(pod.uid.clone());
        self.enrol(&pod, &Whereabouts::default()).await;
        let answer = match self.enroller.board.read().get(&pod.uid) {
            Some(Phase::Captured) => Ok(()),
            Some(Phase::Failed { reason, .. }) => Err(reason.clone()),
            Some(Phase::Releasing) | None => Err("it seems to end already".to_owned()),
        };
        if answer.is_err() && pod.when_agent_down == WhenAgentDown::Closed {
            // It does not start, and its namespace goes; the next try has another.
            self.arrived.remove(&pod.uid);
        }
        // A plugin that no longer waits asks again.
        let _asked_again = captured.send(answer);
        self.back_up(&pod.uid).await;
    }

    /// Those that an earlier agent welcomed: they may run already, and must not be outside until the snapshots show
    /// their addresses.
    pub(super) fn recall(&mut self, snapshot: &Snapshot) {
        let capture = &self.enroller.capture;
        for entry in capture.left_behind() {
            let Some(pod) = snapshot.pod(&entry.uid).filter(|pod| pod.is_on(&self.enroller.node)) else {
                continue;
            };
            if is_shown(pod) || inode(&entry.netns) != Some(entry.netns_inode) {
                continue;
            }
            let ips = capture.addresses_left_behind(&entry).unwrap_or_else(|error| {
                warn!(pod = %entry.pod, error = chain(error), "The addresses of a new pod are not known");
                Vec::new()
            });
            let by = "the agent before this one, until its addresses are shown".to_owned();
            let pod =
                Pod { ips, netns: Some(entry.netns), enrolment: Enrolment::Enrolled(by), ..(**pod).clone() };
            self.arrived.insert(entry.uid, Arc::new(pod));
        }
    }

    /// Who is captured later because a label came later is not late.
    pub(super) fn excuse(&mut self, snapshot: &Snapshot) {
        let (node, arrived) = (&self.enroller.node, &self.arrived);
        self.excused.retain(|uid| arrived.contains_key(uid) || snapshot.pod(uid).is_some());
        let unasked = snapshot.pods_on(node).into_iter().filter(|pod| !pod.is_enrolled() && is_shown(pod));
        self.excused.extend(unasked.map(|pod| pod.uid.clone()));
    }

    /// From then on the snapshots say what is to become of a pod.
    pub(super) fn forget_shown(&mut self, snapshot: &Snapshot) {
        self.arrived.retain(|uid, _| !snapshot.pod(uid).is_some_and(|pod| is_shown(pod)));
    }
}

/// Whether it is known as it is: with its addresses.
fn is_shown(pod: &Pod) -> bool {
    pod.enrolment != Enrolment::NotEnrolled(Uncaptured::NoAddress)
}
