//! The pods whose namespaces the proxy listens in.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use model::{ObjectName, PodUid};
use netns::Netns;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    fair::Denial,
    ledger::Account,
    lock::{lock, read, write},
    refusals::Refusals,
    tuples::{Tuple, Tuples, Wanted},
    turns::Turns,
    usage::Usage,
};

#[derive(Debug, Default)]
pub(crate) struct Pods(RwLock<HashMap<PodUid, Arc<OpenPod>>>);

/// One pod, from `open` to `close`.
#[derive(Debug)]
pub(crate) struct OpenPod {
    pub(crate) uid: PodUid,
    pub(crate) name: ObjectName,
    pub(crate) netns: Arc<Netns>,
    /// See `PodNetns::addresses`.
    pub(crate) addresses: Vec<IpAddr>,
    /// Where the listeners in this pod are bound.
    pub(crate) listeners: Vec<SocketAddr>,
    /// Cancelled when nothing more is to be accepted here.
    pub(crate) stop: CancellationToken,
    pub(crate) accept_loops: TaskTracker,
    /// What its copy buffers are counted on.
    pub(crate) buffers: Account,
    pub(crate) turns: Turns,
    /// Of the proxy's threads, for what was accepted here.
    pub(crate) usage: Arc<Usage>,
    pub(crate) refusals: Refusals,
    connections: Account,
    queries: Account,
    captured: AtomicBool,
    tuples: Mutex<Tuples>,
    activity: watch::Sender<Activity>,
}

/// What goes on in a pod's namespace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Activity {
    /// Connections that need the namespace now.
    pub(crate) live: usize,
    /// How many have ever begun.
    begun: u64,
}

/// One connection that needs the namespace of this pod, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Presence(Arc<OpenPod>);

/// One connection that was accepted in this pod, on its account until this is dropped.
#[derive(Debug)]
pub(crate) struct Admission(Arc<OpenPod>);

/// One DNS query of this pod that waits for a resolver, likewise.
#[derive(Debug)]
pub(crate) struct QueryAdmission(Arc<OpenPod>);

/// One tuple of this pod, taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    pod: Arc<OpenPod>,
    pub(crate) tuple: Tuple,
    delivered: bool,
}

// === impl Pods ===

impl Pods {
    pub(crate) fn get(&self, uid: &PodUid) -> Option<Arc<OpenPod>> {
        read(&self.0).get(uid).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<OpenPod>> {
        read(&self.0).values().cloned().collect()
    }

    /// Adds the pod unless it is there already.
    pub(crate) fn insert(&self, pod: &Arc<OpenPod>) -> bool {
        let mut pods = write(&self.0);
        let vacant = !pods.contains_key(&pod.uid);
        if vacant {
            pods.insert(pod.uid.clone(), Arc::clone(pod));
        }
        vacant
    }

    pub(crate) fn remove(&self, uid: &PodUid) -> Option<Arc<OpenPod>> {
        write(&self.0).remove(uid)
    }
}

// === impl Activity ===

impl Activity {
    pub(crate) fn begun(&self) -> u64 {
        self.begun
    }
}

// === impl OpenPod ===

impl OpenPod {
    pub(crate) fn new(
        uid: PodUid,
        name: ObjectName,
        netns: Arc<Netns>,
        addresses: Vec<IpAddr>,
        listeners: Vec<SocketAddr>,
        [buffers, connections, queries]: [Account; 3],
    ) -> Self {
        Self {
            uid,
            name,
            netns,
            addresses,
            listeners,
            stop: CancellationToken::new(),
            accept_loops: TaskTracker::new(),
            buffers,
            turns: Turns::new(),
            usage: Arc::new(Usage::new()),
            refusals: Refusals::default(),
            connections,
            queries,
            captured: AtomicBool::new(true),
            tuples: Mutex::default(),
            activity: watch::Sender::default(),
        }
    }

    /// Whether one more connection may be accepted here.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Admission, Denial> {
        self.connections.take(1)?;
        Ok(Admission(Arc::clone(self)))
    }

    /// Whether one more of its DNS queries may wait for a resolver.
    pub(crate) fn admit_query(self: &Arc<Self>) -> Result<QueryAdmission, Denial> {
        self.queries.take(1)?;
        Ok(QueryAdmission(Arc::clone(self)))
    }

    pub(crate) fn enter(self: &Arc<Self>) -> Presence {
        self.activity.send_modify(|activity| {
            activity.live += 1;
            activity.begun += 1;
        });
        Presence(Arc::clone(self))
    }

    pub(crate) fn activity(&self) -> watch::Receiver<Activity> {
        self.activity.subscribe()
    }

    pub(crate) fn set_captured(&self, captured: bool) {
        self.captured.store(captured, Ordering::SeqCst);
    }

    /// Whether other pods' connections may be delivered here without crossing the wire.
    pub(crate) fn is_captured(&self) -> bool {
        self.captured.load(Ordering::SeqCst)
    }

    /// Notes an accepted connection; `None` if the proxy opened it itself.
    pub(crate) fn claim_accepted(self: &Arc<Self>, tuple: Tuple) -> Option<Claim> {
        let new = lock(&self.tuples).accept(tuple);
        new.then(|| Claim { pod: Arc::clone(self), tuple, delivered: false })
    }

    /// Takes a source address for a delivery; `None` when there is none left.
    pub(crate) fn claim_delivery(
        self: &Arc<Self>,
        client: IpAddr,
        server: SocketAddr,
        wanted: Wanted,
        ranges: &[RangeInclusive<u16>],
    ) -> Option<Claim> {
        let tuple = lock(&self.tuples).deliver(client, server, wanted, ranges)?;
        Some(Claim { pod: Arc::clone(self), tuple, delivered: true })
    }
}

// === impl Presence ===

impl Presence {
    pub(crate) fn pod(&self) -> &Arc<OpenPod> {
        &self.0
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.activity.send_modify(|activity| activity.live -= 1);
    }
}

// === impl Admission ===

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.connections.give_back(1);
    }
}

// === impl QueryAdmission ===

impl Drop for QueryAdmission {
    fn drop(&mut self) {
        self.0.queries.give_back(1);
    }
}

// === impl Claim ===

impl Drop for Claim {
    fn drop(&mut self) {
        let mut tuples = lock(&self.pod.tuples);
        if self.delivered {
            tuples.forget_delivered(self.tuple);
        } else {
            tuples.forget_accepted(self.tuple);
        }
    }
}
