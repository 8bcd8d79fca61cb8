//! What is asked for: which hosts need an address, and which addresses are not to be had.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use model::{Cidr, ObjectName};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// By namespace and host.
    pub hosts: BTreeSet<ObjectName>,
    pub taken: Taken,
    /// Whether those that are not among `hosts` are gone. Otherwise nobody knows: something could not be read.
    pub is_complete: bool,
}

/// Addresses of the ranges that are somebody's already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub addresses: BTreeMap<IpAddr, Holder>,
    /// Written for hosts, each with the object that says so.
    pub networks: Vec<(Cidr, String)>,
    /// Of which Services are given theirs, each with the object that says so. They take nothing before a Service has it.
    pub services: Vec<(Cidr, String)>,
}

/// The object that has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Somebody wrote it for a host.
    Entry(String),
    /// A pod's, or a Service's: the range is in use for something else.
    Cluster(String),
}

// === impl Taken ===

impl Taken {
    /// What has the address. A network that is wider than `range` takes nothing of it: an address of its own is always
    /// nearer.
    pub(crate) fn holder(&self, ip: IpAddr, range: Cidr) -> Option<&str> {
        let written = self.addresses.get(&ip).map(Holder::name);
        written.or_else(|| {
            let mut networks = self.networks.iter().filter(|(network, _)| is_within(*network, range));
            networks.find(|(network, _)| network.contains(ip)).map(|(_, holder)| &**holder)
        })
    }

    pub(crate) fn networks_within(&self, range: Cidr) -> impl Iterator<Item = Cidr> {
        self.networks.iter().map(|(network, _)| *network).filter(move |network| is_within(*network, range))
    }
}

fn is_within(network: Cidr, range: Cidr) -> bool {
    range.length() < network.length() && range.contains(network.address())
}

// === impl Holder ===

impl Holder {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Entry(name) | Self::Cluster(name) => name,
        }
    }
}
