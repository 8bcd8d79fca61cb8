//! Is this really the network namespace of that pod? A path in a manifest is only a claim.

use std::{net::IpAddr, path::PathBuf};

use model::PodUid;
use netns::Netns;

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("network namespace: {source}", source = chain(.0))]
    NotNetns(#[source] netns::Error),
    #[error("{} is the network namespace of the node itself", .0.display())]
    Node(PathBuf),
    #[error(
        "network namespace {} holds none of the pod's addresses ({}); is it another pod's?",
        path.display(), list(addresses)
    )]
    ForeignAddress { path: PathBuf, addresses: Vec<IpAddr> },
    #[error("{} is the network namespace of pod UID {owner}, which is captured", path.display())]
    Taken { path: PathBuf, owner: PodUid },
}

/// The namespaces that no pod may claim: that of this process, and that of PID 1.
#[derive(Debug)]
pub struct NodeNetns {
    own: Netns,
    init: Option<u64>,
}

// === impl NodeNetns ===

impl NodeNetns {
    pub fn discover() -> Result<Self, netns::Error> {
        let own = Netns::current()?;
        // PID 1 may be out of sight (a PID namespace of our own); then its namespace cannot be named either.
        let init = Netns::open(std::path::Path::new("/proc/1/ns/net"));
        Ok(Self { own, init: init.ok().map(|init| init.cookie()) })
    }

    pub fn contains(&self, netns: &Netns) -> bool {
        *netns == self.own || Some(netns.cookie()) == self.init
    }

    /// That of this process.
    pub(crate) fn own(&self) -> &Netns {
        &self.own
    }
}

/// `assigned` are the addresses found in the namespace, `claimed` those that Kubernetes gives the pod.
pub fn holds_an_address(assigned: &[IpAddr], claimed: &[IpAddr]) -> bool {
    claimed.iter().any(|ip| assigned.contains(&ip.to_canonical()))
}

fn chain(e: &netns::Error) -> String {
    match std::error::Error::source(e) {
        Some(source) => format!("{e}: {source}"),
        None => e.to_string(),
    }
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
