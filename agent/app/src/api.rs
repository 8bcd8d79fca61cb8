//! What the agent can be asked, and its answers: the JSON of `-o json`, which does not change lightly.
//!
//! One request and one answer a line, over the unix socket in the run directory.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

pub use control::kubernetes::AllocatorReport;
use control::{SourceRefusal, WatchTrouble};
use jiff::Timestamp;
use model::{AllocationOrigin, Cidr, ExclusionList, Location, ObjectName, Origin};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum Request {
    Status,
    Pods,
    Services,
    Listeners,
    Allocations,
    /// What the controller of the cluster has to say of them: [`AllocatorReport`], or `null`.
    Allocator,
    Connections,
    Why {
        pod: String,
        destination: String,
    },
    /// Sets what is logged, in the syntax of `RUST_LOG`.
    Log {
        filter: String,
    },
    Wait {
        condition: Condition,
        timeout: Duration,
    },
    /// A newer agent of the node wants to write in its place.
    StepDown,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "for", content = "pod")]
pub enum Condition {
    /// The first snapshot is in force and every pod it wants captured has been tried.
    Ready,
    /// The same, of the agent in this pod of the DaemonSet and no other.
    ReadyIn(String),
    Captured(String),
    Released(String),
}

/// An answer, or why there is none.
pub type Reply = Result<serde_json::Value, String>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub node: String,
    pub agent: AgentState,
    pub pid: Option<u32>,
    /// Which agent of this node it is, counted from the first that used the run directory.
    pub generation: u64,
    pub version: String,
    /// As `--source` has it.
    pub source: String,
    pub ready: bool,
    pub snapshot: u64,
    pub pods: PodCounts,
    pub connections: usize,
    /// Where the CNI plugin is in the node's chain; `null` where none is wanted, or no agent looks.
    pub cni: Option<String>,
    /// Whose probes reach captured pods without the proxy; `null` where nobody was found who
    /// would, and nobody is expected, or no agent looks.
    pub probes: Option<String>,
    /// How the connections since the agent's start have ended.
    pub ended: Vec<Ended>,
    /// What of the source was not taken.
    pub refusals: Vec<SourceRefusal>,
    /// The same, one sentence each.
    pub refused: Vec<String>,
    /// Watches of the API server that do not stand.
    pub troubles: Vec<WatchTrouble>,
    /// Pods of the node that no agent can capture though a label asks for it, and why.
    pub uncapturable: Vec<String>,
    /// Why the agent is not as it should be; empty when all is well.
    pub problems: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentState {
    Running,
    /// Its process holds its sockets, and does not serve them.
    Stuck,
    Down,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodCounts {
    pub on_node: usize,
    pub captured: usize,
    pub releasing: usize,
    pub failed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub reason: String,
    pub connections: u64,
}

/// A pod of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRow {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub ips: Vec<IpAddr>,
    pub state: PodState,
    /// Connections through the proxy that need this pod's namespace.
    pub connections: usize,
    /// What the programs dropped or refused of it.
    pub stopped: Vec<StopRow>,
    /// Connections of a captured pod that are older than its capture, and not captured; `null` where that cannot
    /// be told.
    pub older_connections: Option<usize>,
    /// Connections that were reset at once for want of room, since the agent has the pod.
    pub refused_connections: u64,
    pub when_agent_down: String,
    /// What passes without the proxy, and who asks for it.
    pub exclusions: Vec<ExclusionRow>,
    /// Annotations that exclude nothing, or not what they say now, and why.
    pub refused_exclusions: Vec<String>,
    pub because: String,
    /// What in a captured pod does not go together with its capture, one sentence each.
    pub collisions: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExclusionRow {
    pub list: ExclusionList,
    /// A network, a port, or a range of ports.
    pub what: String,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRow {
    pub program: String,
    pub outcome: String,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodState {
    Captured,
    Releasing,
    Failed,
    /// Wanted, and not yet tried.
    Pending,
    NotEnrolled,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRow {
    pub namespace: String,
    pub name: String,
    /// Its whole name in DNS.
    pub host: String,
    pub vips: Vec<IpAddr>,
    /// What it was given for want of an address of its own.
    pub allocated: Vec<IpAddr>,
    /// Of a ServiceEntry.
    pub networks: Vec<Cidr>,
    /// `null` in the one row of a service without TCP ports.
    pub port: Option<u16>,
    pub port_name: String,
    /// Of a ServiceEntry.
    pub location: Option<Location>,
    /// Of a service that is only another name.
    pub external_name: Option<String>,
    pub policy: Vec<String>,
    pub endpoints: Vec<EndpointRow>,
    /// Endpoints that the proxy resolves, with their ports.
    pub names: Vec<String>,
}

/// A host of ServiceEntries, and the addresses that it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationRow {
    pub namespace: String,
    pub host: String,
    pub addresses: Vec<IpAddr>,
    pub origin: AllocationOrigin,
    /// Since when there is no such host; as long as this is listed nobody else gets its address.
    pub freed: Option<String>,
}

/// Something that may be dialled, and the service that has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerRow {
    /// An address, a network, or `*`.
    pub address: String,
    pub port: u16,
    pub kind: ListenerKind,
    pub namespace: String,
    /// Of a ServiceEntry: its host.
    pub service: String,
    /// How an endpoint is found.
    pub discovery: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerKind {
    /// `spec.clusterIPs` of a Service, `spec.addresses` of a ServiceEntry.
    Vip,
    /// An address that a ServiceEntry was given for want of one.
    Allocated,
    /// An endpoint of a headless service.
    Headless,
    /// A network of a ServiceEntry.
    Network,
    /// This port of every address that is nobody else's.
    AnyAddress,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRow {
    pub address: SocketAddr,
    /// How many times the connections of one of weight 1 it gets, where somebody says.
    pub weight: Option<u32>,
    pub state: String,
    pub pod: Option<String>,
    pub node: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRow {
    pub id: u64,
    pub pod: ObjectName,
    pub direction: String,
    pub stage: String,
    pub client: SocketAddr,
    pub client_workload: Option<ObjectName>,
    pub original_dst: Option<SocketAddr>,
    pub service: Option<ObjectName>,
    pub upstream: Option<SocketAddr>,
    pub upstream_workload: Option<ObjectName>,
    /// `direct`, `wire` or `forward`, once an outbound connection has chosen.
    pub via: Option<String>,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub started: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    pub pod: ObjectName,
    /// The name that was asked about.
    pub name: Option<String>,
    pub destination: SocketAddr,
    pub verdict: Verdict,
    /// One sentence.
    pub summary: String,
    pub steps: Vec<WhyStep>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Through the proxy.
    Proxied,
    /// Past it.
    Direct,
    Refused,
}

/// One stage: what decides, what it decides, and what that rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyStep {
    pub stage: String,
    pub decision: String,
    pub evidence: String,
}

/// Whether a condition came true in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    pub met: bool,
    pub found: String,
}

// === impl PodState ===

impl PodState {
    pub const ALL: [Self; 5] =
        [Self::Captured, Self::Releasing, Self::Failed, Self::Pending, Self::NotEnrolled];
}
