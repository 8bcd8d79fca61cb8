//! What is to be reported of an allocation.

use std::net::{IpAddr, Ipv4Addr};

use model::{Cidr, ObjectName};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error(
        "{range} has no address left for host {host}{}: over IPv4 nobody reaches that by name; give hosts addresses of \
         their own, or the agents a wider range (dns.allocation.ipv4)", and_others(*others)
    )]
    Exhausted { range: Cidr, host: ObjectName, others: usize },
    #[error("host {host} had {address}, which {holder} claims for itself; it was given another")]
    Outranked { host: ObjectName, address: Ipv4Addr, holder: String },
    #[error("host {host} would have {address}, which {holder} claims for itself; it has no IPv6 address")]
    Ipv6Taken { host: ObjectName, address: IpAddr, holder: String },
    #[error(
        "{range}, of which hosts are given addresses, is in use in the cluster: {address} is that of {holder}{}; choose \
         another range (dns.allocation)", and_others(*others)
    )]
    Overlap { range: Cidr, address: IpAddr, holder: String, others: usize },
    #[error(
        "{range}, of which hosts are given addresses, overlaps {network} of {holder}{}, of which Services are given \
         theirs: a Service that gets one of a host's takes it away; choose another range (dns.allocation)",
        and_others(*others)
    )]
    OfServices { range: Cidr, network: Cidr, holder: String, others: usize },
}

fn and_others(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => ", and one more".to_owned(),
        others => format!(", and {others} more"),
    }
}
