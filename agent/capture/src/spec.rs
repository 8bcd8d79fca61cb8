//! What capture works on: a pod, and the listeners that somebody else opens in it.

use std::{collections::BTreeSet, net::IpAddr, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use abi::Slot;
use model::{Exclusions, ObjectName, OutboundPolicy, PodUid, WhenAgentDown};
use netns::Netns;

use crate::desired::Terms;

/// A pod to be captured.
#[derive(Clone, Debug)]
pub struct PodSpec {
    pub uid: PodUid,
    pub name: ObjectName,
    pub ips: Vec<IpAddr>,
    pub netns_path: PathBuf,
    pub netns: Arc<Netns>,
    pub when_agent_down: WhenAgentDown,
    /// Whether its DNS queries are captured, too.
    pub captures_dns: bool,
    /// What becomes of its connections to what nobody in the mesh has.
    pub outbound_policy: OutboundPolicy,
    /// Those of the node and those of the pod.
    pub exclusions: Exclusions,
}

// === impl PodSpec ===

impl PodSpec {
    /// But for the lists of exclusions.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            when_agent_down: self.when_agent_down,
            captures_dns: self.captures_dns,
            outbound_policy: self.outbound_policy,
            excludes: BTreeSet::new(),
        }
    }
}

/// A listening socket of the proxy inside the pod's namespace.
#[derive(Debug)]
pub struct Listener {
    pub slot: Slot,
    pub socket: OwnedFd,
}

/// Opens the proxy's listeners in a pod's namespace. The sockets returned are duplicates: the proxy keeps its
/// own, and a slot empties when the last is closed.
pub trait Listen {
    fn listen(&self, pod: &PodSpec) -> Result<Vec<Listener>, String>;
    /// Closes them and ends the connections that still need the pod.
    fn close(&self, pod: &PodUid) -> impl Future<Output = ()> + Send;
}
