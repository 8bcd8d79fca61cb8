//! Which address is whose. Every lab is a world of its own, so all labs use the same ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};

/// An address of each family, for one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

/// Addresses with their prefix lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub addresses: Addresses,
    pub v4_length: u8,
    pub v6_length: u8,
}

/// Which families a pod has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    #[default]
    Dual,
    V4,
    V6,
}

// === impl Addresses ===

impl Addresses {
    pub fn of(self, families: Families) -> Vec<IpAddr> {
        match families {
            Families::Dual => vec![self.v4.into(), self.v6.into()],
            Families::V4 => vec![self.v4.into()],
            Families::V6 => vec![self.v6.into()],
        }
    }
}

// === impl Subnet ===

impl Subnet {
    /// Each address with its prefix length.
    pub fn prefixes(self, families: Families) -> Vec<(IpAddr, u8)> {
        let length = |ip: IpAddr| if ip.is_ipv4() { self.v4_length } else { self.v6_length };
        self.addresses.of(families).into_iter().map(|ip| (ip, length(ip))).collect()
    }
}

/// The bridge of a node, which is the gateway of its pods: 10.N.0.1 and fd00:N::1.
pub fn bridge(node: u8) -> Subnet {
    in_node(node, 1)
}

/// Where a route to all pods of a node leads.
pub fn network(node: u8) -> Subnet {
    in_node(node, 0)
}

/// The pods of a node are numbered from 2.
pub fn pod(node: u8, pod: u32) -> Result<Subnet> {
    match u8::try_from(pod) {
        Ok(host @ 2..=254) => Ok(in_node(node, host)),
        Ok(_) | Err(_) => bail!("a node has room for 253 pods"),
    }
}

/// The network that joins the nodes: 172.31.0.N and fd00:ffff::N.
pub fn wire(node: u8) -> Subnet {
    let v4 = Ipv4Addr::new(172, 31, 0, node);
    let v6 = Ipv6Addr::new(0xfd00, 0xffff, 0, 0, 0, 0, 0, node.into());
    Subnet { addresses: Addresses { v4, v6 }, v4_length: 24, v6_length: 64 }
}

/// Virtual addresses of services: routed nowhere, as in a cluster without kube-proxy.
pub fn vip(service: u16) -> Addresses {
    let [high, low] = service.to_be_bytes();
    Addresses {
        v4: Ipv4Addr::new(10, 96, high, low),
        v6: Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, service),
    }
}

fn in_node(node: u8, host: u8) -> Subnet {
    let v4 = Ipv4Addr::new(10, node, 0, host);
    let v6 = Ipv6Addr::new(0xfd00, node.into(), 0, 0, 0, 0, 0, host.into());
    Subnet { addresses: Addresses { v4, v6 }, v4_length: 24, v6_length: 64 }
}
