//! The connections that the proxy is serving at this moment.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use model::{ClientAddr, EndpointAddr, ObjectName, OriginalDst, PodUid};
use route::Via;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use crate::{Reason, lock::lock, meter::Meter};

/// One connection as `millstream connections` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionRow {
    pub id: u64,
    /// The pod in whose namespace it was accepted.
    pub pod: ObjectName,
    pub pod_uid: PodUid,
    pub direction: Direction,
    pub stage: Stage,
    pub client: ClientAddr,
    pub client_workload: Option<ObjectName>,
    /// What the client dialled.
    pub original_dst: Option<OriginalDst>,
    pub service: Option<ObjectName>,
    /// Where the proxy went on to.
    pub upstream: Option<EndpointAddr>,
    pub upstream_workload: Option<ObjectName>,
    /// The way that an outbound connection took.
    pub via: Option<Via>,
    /// From the client to the server.
    pub bytes_sent: u64,
    /// From the server to the client.
    pub bytes_received: u64,
    pub started: Timestamp,
}

/// Whose connection it is: dialled by the pod, or by someone who dialled the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Outbound,
    Inbound,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Accept,
    OriginalDst,
    Resolve,
    Select,
    Deliver,
    Forward,
    /// Of DNS queries over TCP, one by one.
    Answer,
    Copy,
}

#[derive(Debug, Default)]
pub(crate) struct Connections {
    table: Mutex<HashMap<u64, Arc<Live>>>,
    next_id: AtomicU64,
    count: watch::Sender<usize>,
}

/// One connection while it lives: written by its task, read and ended by others.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: u64,
    pub(crate) pod: ObjectName,
    pub(crate) pod_uid: PodUid,
    pub(crate) direction: Direction,
    pub(crate) client: ClientAddr,
    pub(crate) meter: Meter,
    started: Timestamp,
    facts: Mutex<Facts>,
    ended: OnceLock<Reason>,
    wake: Notify,
}

/// What a connection learns on its way.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) stage: Stage,
    pub(crate) original_dst: Option<OriginalDst>,
    pub(crate) client_workload: Option<ObjectName>,
    pub(crate) service: Option<ObjectName>,
    pub(crate) upstream: Option<EndpointAddr>,
    pub(crate) upstream_workload: Option<ObjectName>,
    pub(crate) via: Option<Via>,
    /// The pod in whose namespace it is delivered; several only while it is tried which endpoint accepts first.
    pub(crate) delivered_in: Vec<PodUid>,
}

// === impl Connections ===

impl Connections {
    pub(crate) fn add(
        &self,
        pod: (&PodUid, &ObjectName),
        direction: Direction,
        client: ClientAddr,
    ) -> Arc<Live> {
        let live = Arc::new(Live {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            pod_uid: pod.0.clone(),
            pod: pod.1.clone(),
            direction,
            client,
            meter: Meter::new(),
            started: Timestamp::now(),
            facts: Mutex::new(Facts::new()),
            ended: OnceLock::new(),
            wake: Notify::new(),
        });
        lock(&self.table).insert(live.id, Arc::clone(&live));
        self.count.send_modify(|count| *count += 1);
        live
    }

    pub(crate) fn remove(&self, id: u64) {
        if lock(&self.table).remove(&id).is_some() {
            self.count.send_modify(|count| *count -= 1);
        }
    }

    /// In the order in which they were accepted.
    pub(crate) fn rows(&self) -> Vec<ConnectionRow> {
        let mut rows: Vec<_> = lock(&self.table).values().map(|live| live.row()).collect();
        rows.sort_by_key(|row| row.id);
        rows
    }

    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until there are none.
    pub(crate) async fn none(&self) {
        let mut count = self.count.subscribe();
        // The sender is here, so the wait cannot fail.
        drop(count.wait_for(|&count| count == 0).await);
    }

    /// Ends those that `which` says.
    pub(crate) fn end(&self, reason: Reason, which: impl Fn(&Live) -> bool) {
        for live in lock(&self.table).values().filter(|live| which(live)) {
            live.end(reason);
        }
    }
}

// === impl Live ===

impl Live {
    pub(crate) fn reached(&self, stage: Stage) {
        self.learn(|facts| facts.stage = stage);
    }

    pub(crate) fn learn(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut lock(&self.facts));
    }

    pub(crate) fn facts(&self) -> Facts {
        lock(&self.facts).clone()
    }

    /// Whether it needs the namespace of this pod.
    pub(crate) fn involves(&self, uid: &PodUid) -> bool {
        self.pod_uid == *uid || lock(&self.facts).delivered_in.contains(uid)
    }

    /// Has its task end it.
    pub(crate) fn end(&self, reason: Reason) {
        // The first reason stays.
        let _known = self.ended.set(reason);
        self.wake.notify_one();
    }

    /// Waits for [`Live::end`].
    pub(crate) async fn ended(&self) -> Reason {
        loop {
            self.wake.notified().await;
            if let Some(&reason) = self.ended.get() {
                return reason;
            }
        }
    }

    fn row(&self) -> ConnectionRow {
        let Facts {
            stage,
            original_dst,
            client_workload,
            service,
            upstream,
            upstream_workload,
            via,
            delivered_in: _,
        } = self.facts();
        let client_workload = match self.direction {
            Direction::Outbound => Some(self.pod.clone()),
            Direction::Inbound => client_workload,
        };
        ConnectionRow {
            id: self.id,
            pod: self.pod.clone(),
            pod_uid: self.pod_uid.clone(),
            direction: self.direction,
            stage,
            client: self.client,
            client_workload,
            original_dst,
            service,
            upstream,
            upstream_workload,
            via,
            bytes_sent: self.meter.sent(),
            bytes_received: self.meter.received(),
            started: self.started,
        }
    }
}

// === impl Facts ===

impl Facts {
    fn new() -> Self {
        Self {
            stage: Stage::Accept,
            original_dst: None,
            client_workload: None,
            service: None,
            upstream: None,
            upstream_workload: None,
            via: None,
            delivered_in: Vec::new(),
        }
    }
}

// === impl Direction ===

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        })
    }
}

// === impl Stage ===

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::OriginalDst => "original_dst",
            Self::Resolve => "resolve",
            Self::Select => "select",
            Self::Deliver => "deliver",
            Self::Forward => "forward",
            Self::Answer => "answer",
            Self::Copy => "copy",
        })
    }
}
