//! What all connections of the proxy share.

use std::{
    io,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use model::Snapshot;
use tokio::sync::watch;

use crate::{
    ProxyConfig,
    affinity::Affinities,
    buffer::Pool,
    connections::Connections,
    lanes::Lanes,
    ledger::{Account, Ledger},
    load::Loads,
    names::Names,
    pods::Pods,
    queries::Outcomes,
    reason::Counters,
    spare::Spare,
};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ProxyConfig,
    /// The name of this node.
    pub(crate) node: Arc<str>,
    pub(crate) pods: Pods,
    pub(crate) connections: Connections,
    pub(crate) reasons: Counters,
    pub(crate) loads: Loads,
    pub(crate) affinities: Mutex<Affinities>,
    pub(crate) names: Names,
    pub(crate) pool: Pool,
    /// What is lent of the pool.
    pub(crate) buffers: Arc<Ledger>,
    /// How many connections each pod has.
    pub(crate) admitted: Arc<Ledger>,
    pub(crate) queries: Outcomes,
    /// How many DNS queries of each pod wait for a resolver.
    pub(crate) asked: Arc<Ledger>,
    pub(crate) spare: Spare,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) draining: AtomicBool,
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(
        config: ProxyConfig,
        node: Arc<str>,
        snapshot: watch::Receiver<Arc<Snapshot>>,
    ) -> io::Result<Self> {
        Ok(Self {
            node,
            pods: Pods::default(),
            connections: Connections::default(),
            reasons: Counters::default(),
            loads: Loads::default(),
            affinities: Mutex::new(Affinities::new(config.max_affinities)),
            names: Names::new(config.resolvers.clone()),
            pool: Pool::default(),
            buffers: Ledger::new(config.limits.buffers()),
            admitted: Ledger::new(config.limits.connections()),
            queries: Outcomes::default(),
            asked: Ledger::new(config.limits.queries()),
            spare: Spare::new(),
            lanes: Arc::new(Lanes::new()?),
            draining: AtomicBool::new(false),
            snapshot,
            config,
        })
    }

    /// For a pod: its copy buffers, its connections, and its DNS queries.
    pub(crate) fn accounts(&self) -> [Account; 3] {
        [self.buffers.account(), self.admitted.account(), self.asked.account()]
    }

    /// The cluster as it is now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }
}
