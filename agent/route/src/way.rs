//! How the chosen endpoint is reached. A pod of this node can be reached without a packet on any interface, but
//! network policies act on packets: where one may select either end, they see the connection.

use std::fmt;

use model::{EndpointAddr, ObjectName, OriginalDst, Pod, PodUid, Snapshot};
use serde::{Deserialize, Serialize};

/// How a captured pod is reached from another one of the same node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameNode {
    /// Over the wire if a network policy may select either pod, else direct.
    #[default]
    Auto,
    /// Always out of the client's interface and into the destination's.
    Wire,
    /// Always inside the destination's namespace: no network policy sees it.
    Direct,
}

/// One connection, as far as its way depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Journey<'a> {
    /// The pod that dialled.
    pub client: &'a PodUid,
    pub dialled: OriginalDst,
    pub endpoint: EndpointAddr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way<'a> {
    /// Inside the namespace of the pod, over its `lo`.
    Direct { to: &'a Pod, despite: Option<Policed<'a>> },
    /// Out of the client's interface and into that of the pod, whose own inbound listener takes it.
    Wire { to: &'a Pod, because: Because<'a> },
    /// Out of the client's interface, to what is not captured on this node.
    Forward { to: Option<&'a Pod> },
}

/// Why a connection takes the wire that need not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because<'a> {
    Setting,
    Policed(Policed<'a>),
    /// The client is released, and its manifest gone: nobody knows its policies.
    UnknownClient,
}

/// A network policy that may select one of the ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policed<'a> {
    pub policy: &'a str,
    pub pod: &'a ObjectName,
}

/// A way in one word, for records and lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    Direct,
    Wire,
    Forward,
}

/// Decides the way. `is_open` says of a pod whether connections can be delivered in its namespace.
pub fn way<'a>(
    snapshot: &'a Snapshot,
    same_node: SameNode,
    journey: Journey<'_>,
    is_open: impl FnOnce(&Pod) -> bool,
) -> Way<'a> {
    let Journey { client, dialled, endpoint } = journey;
    // A socket of one family cannot bear a client's address of the other.
    let same_family = dialled.0.ip().to_canonical().is_ipv4() == endpoint.ip().is_ipv4();
    let Some(to) = snapshot.pod_by_ip(endpoint.ip()) else { return Way::Forward { to: None } };
    if !same_family {
        return Way::Forward { to: Some(to) };
    }
    // A pod cannot be kept from itself, so says Kubernetes. Also while it is being released: forwarded, the connection
    // would come back to its own listener.
    if to.uid == *client {
        return Way::Direct { to, despite: None };
    }
    if !is_open(to) {
        return Way::Forward { to: Some(to) };
    }
    let client = snapshot.pod(client).map(|pod| &**pod);
    let policed = [client, Some(to)].into_iter().flatten().find_map(Policed::of);
    let because = match (same_node, policed, client) {
        (SameNode::Direct, despite, _) => return Way::Direct { to, despite },
        (SameNode::Wire, ..) => Because::Setting,
        (SameNode::Auto, Some(policed), _) => Because::Policed(policed),
        (SameNode::Auto, None, None) => Because::UnknownClient,
        (SameNode::Auto, None, Some(_)) => return Way::Direct { to, despite: None },
    };
    Way::Wire { to, because }
}

// === impl Policed ===

impl<'a> Policed<'a> {
    fn of(pod: &'a Pod) -> Option<Self> {
        let policy = pod.policed_by.as_deref()?;
        Some(Self { policy, pod: &pod.name })
    }
}

impl fmt::Display for Policed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, pod } = self;
        write!(f, "{policy} may select {pod}")
    }
}

// === impl Way ===

impl Way<'_> {
    pub fn via(&self) -> Via {
        match self {
            Self::Direct { .. } => Via::Direct,
            Self::Wire { .. } => Via::Wire,
            Self::Forward { .. } => Via::Forward,
        }
    }
}

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct { to, despite: None } => write!(f, "{}, delivered in its namespace", to.name),
            Self::Direct { to, despite: Some(policed) } => {
                write!(f, "{}, delivered in its namespace: same-node: direct, though {policed}", to.name)
            }
            Self::Wire { to, because } => write!(f, "{}, over the wire: {because}", to.name),
            Self::Forward { to: Some(to) } => write!(f, "{}, forwarded", to.name),
            Self::Forward { to: None } => f.write_str("forwarded"),
        }
    }
}

// === impl Via ===

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Wire => "wire",
            Self::Forward => "forward",
        })
    }
}

// === impl Because ===

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting => f.write_str("same-node: wire"),
            Self::Policed(policed) => policed.fmt(f),
            Self::UnknownClient => f.write_str("the client is no longer known, nor what policies it has"),
        }
    }
}

#[cfg(test)]
mod tests;
