//! What is asked, and what comes of it.

use std::{net::IpAddr, sync::Arc, time::Duration};

/// What is asked for: the addresses that a name has, of one family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// In lower case and without the last dot.
    pub host: Arc<str>,
    pub family: Family,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    V4,
    V6,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// None where there is no such name, or not in this family.
    Answered { ips: Vec<IpAddr>, ttl: Duration },
    /// The name servers did not say; why not.
    Failed(Arc<str>),
}

// === impl Family ===

impl Family {
    /// An IPv4 address that is mapped into IPv6 counts as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        if ip.to_canonical().is_ipv4() { Self::V4 } else { Self::V6 }
    }
}
