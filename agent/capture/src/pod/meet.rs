//! A pod's neighbours: what is refused, what is told, and what somebody changed back.

use std::collections::BTreeSet;

use tracing::{info, warn};

use super::{Capture, Live};
use crate::{
    Error, PodSpec, Steering,
    collision::{self, Collision},
    desired::Actual,
    journal::Entry,
    netlink::Netlink,
    plan::{Change, Step},
};

// === impl Live ===

impl Live {
    /// A pod that nothing was done to.
    pub(super) fn new(spec: &PodSpec, netlink: Netlink, steering: &Steering) -> Self {
        Self {
            spec: spec.clone(),
            netlink,
            listening: false,
            steered: false,
            guarded: BTreeSet::new(),
            backed_up: BTreeSet::new(),
            rule_priority: steering.rule_priority,
            told: Vec::new(),
        }
    }
}

// === impl Capture ===

impl Capture {
    /// Finds what collides with us. A pod that was not touched yet is refused for what is fatal; for one that is captured
    /// it is told, for to let go of it would cost more connections.
    pub(super) fn meet(&self, pod: &mut Live, actual: &Actual) -> Result<(), Error> {
        let steering = &self.config.steering;
        let untouched = actual.is_untouched(steering);
        let mut collisions = collision::collisions(&actual.neighbours, steering, untouched);
        if untouched && let Some(fatal) = collisions.iter().position(Collision::is_fatal) {
            return Err(collisions.swap_remove(fatal).into());
        }
        for collision in collisions.iter().filter(|collision| !pod.told.contains(collision)) {
            warn!(pod = %pod.spec.name, %collision, "Something in the pod collides with its capture");
        }
        pod.told = collisions;
        let place = collision::priority(&actual.neighbours.rules, steering);
        pod.rule_priority = place.unwrap_or(pod.rule_priority);
        Ok(())
    }

    /// Where this pod's rule stands may differ from the configuration: before others that would take what it is for.
    pub(super) fn steering_of(&self, pod: &Live) -> Steering {
        Steering { rule_priority: pod.rule_priority, ..self.config.steering }
    }
}

/// Says what somebody in the pod changed back, and that it is set again. Most who do that do it once, when they start;
/// with one who insists, the log tells who fights.
pub(super) fn tell_of_changes_back(pod: &Live, before: Option<&Entry>, steps: &[Step]) {
    let known = before.map_or(&[][..], |entry| &entry.changes);
    if !pod.listening {
        return;
    }
    for step in steps {
        match step {
            Step::Change(Change::Sysctl { name, before, after }) => {
                let is_known = |c: &Change| matches!(c, Change::Sysctl { name: n, .. } if n == name);
                if known.iter().any(is_known) {
                    warn!(
                        pod = %pod.spec.name, sysctl = name, found = before, wanted = after,
                        "Somebody has changed a sysctl back that capture needs; set again"
                    );
                }
            }
            Step::Change(change @ Change::Rule { family }) if known.contains(change) => {
                info!(
                    pod = %pod.spec.name, %family, preference = pod.rule_priority,
                    "Our rule was gone, or another came before it; put where it belongs"
                );
            }
            _ => {}
        }
    }
}
