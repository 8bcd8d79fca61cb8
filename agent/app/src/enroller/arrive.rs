//! Arriving: a pod that the CNI plugin tells of is captured before its first container starts, and so before the
//! snapshots show its addresses.

use std::sync::Arc;

use model::{Enrolment, Snapshot, Uncaptured, WhenAgentDown};

use super::{Work, locate::Whereabouts};
use crate::{arrivals::Arrival, pods::Phase};

impl Work {
    pub(super) async fn welcome(&mut self, arrival: Arrival) {
        let Arrival { pod, captured } = arrival;
        let pod = Arc::new(pod);
        self.arrived.insert(pod.uid.clone(), pod.clone());
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

    /// From then on the snapshots say what is to become of a pod.
    pub(super) fn forget_shown(&mut self, snapshot: &Snapshot) {
        let is_shown = |pod: &model::Pod| pod.enrolment != Enrolment::NotEnrolled(Uncaptured::NoAddress);
        self.arrived.retain(|uid, _| !snapshot.pod(uid).is_some_and(|pod| is_shown(pod)));
    }
}
