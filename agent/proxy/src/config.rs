//! What the operator can set.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use model::Marks;
use route::SameNode;

use crate::Limits;

#[derive(Clone, Debug)]
pub struct ProxyConfig {
    pub marks: Marks,
    /// How captured pods of this node reach each other.
    pub same_node: SameNode,
    /// How long an endpoint may take to accept.
    pub connect_timeout: Duration,
    /// Ends connections on which no byte moved for so long; `None` leaves that to the applications.
    pub idle_timeout: Option<Duration>,
    /// Source ports of the sockets that deliver to a pod, the preferred range first. Nobody else may dial that pod from
    /// one of them, or the kernel takes the first segment for one of the delivery's.
    pub delivery_ports: Vec<RangeInclusive<u16>>,
    /// Source ports of the sockets that leave a pod, where those of its ephemeral range are worth more to itself. They
    /// arrive at a pod as a client's do, so they are none of [`Self::delivery_ports`], of any node's agent.
    pub forward_ports: RangeInclusive<u16>,
    /// How long a connection must be idle before its application is asked whether it wants keepalive;
    /// `None` never asks.
    pub keepalive_probe_after: Option<Duration>,
    pub limits: Limits,
    /// How long a DNS answer of the mesh may be kept, in seconds (TTL).
    pub dns_ttl: u32,
    /// How many clients of services with `sessionAffinity: ClientIP` are remembered; beyond it the one that
    /// was seen longest ago is forgotten.
    pub max_affinities: usize,
    /// The name servers that are asked for endpoints that are names; none: those of the agent's `/etc/resolv.conf`.
    pub resolvers: Vec<SocketAddr>,
}

/// The soft limit that a process has where nobody has set another.
const FILES: u64 = 1_024;

// === impl ProxyConfig ===

impl ProxyConfig {
    /// The defaults, which need only the marks.
    pub fn new(marks: Marks) -> Self {
        Self {
            marks,
            same_node: SameNode::default(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: None,
            // Either side of the usual ephemeral range 32768–60999, which real clients draw from. Ports that
            // an application may listen on come last.
            delivery_ports: vec![61_000..=65_535, 24_576..=32_767],
            forward_ports: 16_384..=24_575,
            keepalive_probe_after: Some(Duration::from_secs(15)),
            limits: Limits::for_files(FILES),
            // Istio's.
            dns_ttl: 30,
            max_affinities: 65_536,
            resolvers: Vec::new(),
        }
    }
}
