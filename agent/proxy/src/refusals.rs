//! The connections of a pod that were reset for want of room, and why.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use model::{ObjectName, PodUid};

use crate::{Reason, lock::lock, seldom::Seldom};

/// What [`Proxy::refused`](crate::Proxy::refused) tells of a pod.
#[derive(Clone, Debug)]
pub struct Refused {
    pub pod_uid: PodUid,
    pub pod: ObjectName,
    /// How many, by reason.
    pub connections: Vec<(Reason, u64)>,
    /// Why the last one was, and how long ago.
    pub last: (String, Duration),
}

#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    connections: Vec<(Reason, u64)>,
    last: Option<(String, Instant)>,
    warning: Seldom,
}

// === impl Refusals ===

impl Refusals {
    /// One more. If that is to be logged: how many there were since it was logged last.
    pub(crate) fn note(&self, reason: Reason, because: String) -> Option<u64> {
        let now = Instant::now();
        let mut inner = lock(&self.0);
        match inner.connections.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => inner.connections.push((reason, 1)),
        }
        inner.last = Some((because, now));
        inner.warning.happened(now)
    }

    pub(crate) fn read(&self, pod_uid: &PodUid, pod: &ObjectName) -> Option<Refused> {
        let inner = lock(&self.0);
        let (because, at) = inner.last.as_ref()?;
        Some(Refused {
            pod_uid: pod_uid.clone(),
            pod: pod.clone(),
            connections: inner.connections.clone(),
            last: (because.clone(), at.elapsed()),
        })
    }
}
