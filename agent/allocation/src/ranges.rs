//! The networks that addresses are of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Cidr, ObjectName};

use crate::hash;

/// Prefixes of an IPv4 range: not so wide that it holds half of all networks, not so narrow that it holds nothing.
const IPV4_LENGTHS: std::ops::RangeInclusive<u8> = 8..=30;
/// At least 64 bits must come from the hash.
const IPV6_LENGTH_MAX: u8 = 64;

/// By default istiod's: 240.240.0.0/16 and 2001:2::/48.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges {
    ipv4: Cidr,
    ipv6: Cidr,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("{0} is not an IPv4 network with a prefix of 8 to 30 bits, like 240.240.0.0/16")]
    Ipv4(Cidr),
    #[error("{0} is not an IPv6 network with a prefix of at most 64 bits, like 2001:2::/48")]
    Ipv6(Cidr),
    #[error(
        "{0} holds addresses that are no host's own: loopback, link-local, multicast or unspecified ones"
    )]
    Special(Cidr),
}

// === impl Ranges ===

impl Ranges {
    pub fn new(ipv4: Cidr, ipv6: Cidr) -> Result<Self, RangeError> {
        if !ipv4.address().is_ipv4() || !IPV4_LENGTHS.contains(&ipv4.length()) {
            return Err(RangeError::Ipv4(ipv4));
        }
        if !ipv6.address().is_ipv6() || IPV6_LENGTH_MAX < ipv6.length() {
            return Err(RangeError::Ipv6(ipv6));
        }
        let special: [(IpAddr, u8); 8] = [
            (Ipv4Addr::UNSPECIFIED.into(), 8),
            (Ipv4Addr::LOCALHOST.into(), 8),
            (Ipv4Addr::new(169, 254, 0, 0).into(), 16),
            (Ipv4Addr::new(224, 0, 0, 0).into(), 4),
            (Ipv6Addr::LOCALHOST.into(), 128),
            // Those are IPv4, written as IPv6.
            (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0).into(), 95),
            (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10),
            (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
        ];
        for (address, length) in special {
            let special = Cidr::containing(address, length);
            for range in [ipv4, ipv6] {
                if range.contains(address) || special.is_some_and(|s| s.contains(range.address())) {
                    return Err(RangeError::Special(range));
                }
            }
        }
        Ok(Self { ipv4, ipv6 })
    }

    pub fn ipv4(&self) -> Cidr {
        self.ipv4
    }

    pub fn ipv6(&self) -> Cidr {
        self.ipv6
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        self.ipv4.contains(ip) || self.ipv6.contains(ip)
    }

    /// How many addresses there are: the first and the last are the network's, and never a host's.
    pub(crate) fn slots(&self) -> u32 {
        self.host_mask() - 1
    }

    pub(crate) fn ipv4_at(&self, slot: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base().wrapping_add(slot).wrapping_add(1))
    }

    pub(crate) fn slot_of(&self, ip: Ipv4Addr) -> Option<u32> {
        let slot = ip.to_bits().checked_sub(self.base())?.checked_sub(1)?;
        Some(slot).filter(|slot| *slot < self.slots())
    }

    /// The slots of a network within the range, from the first to the last.
    pub(crate) fn slots_of(&self, network: Cidr) -> Option<(u32, u32)> {
        let IpAddr::V4(address) = network.address() else { return None };
        let size = u32::MAX.checked_shr(network.length().into()).unwrap_or(0);
        let first = address.to_bits().checked_sub(self.base())?;
        let last = first.checked_add(size)?.min(self.host_mask() - 1).checked_sub(1)?;
        Some((first.saturating_sub(1), last))
    }

    pub(crate) fn ipv6_of(&self, host: &ObjectName) -> IpAddr {
        let IpAddr::V6(base) = self.ipv6.address() else { return self.ipv6.address() };
        let mask = u128::MAX.checked_shr(self.ipv6.length().into()).unwrap_or(0);
        Ipv6Addr::from_bits(base.to_bits() | hash::wide(host) & mask).into()
    }

    fn base(&self) -> u32 {
        match self.ipv4.address() {
            IpAddr::V4(base) => base.to_bits(),
            // `new` takes no such range.
            IpAddr::V6(_) => 0,
        }
    }

    /// At least 3, for the prefix has at most 30 bits.
    fn host_mask(&self) -> u32 {
        u32::MAX >> self.ipv4.length()
    }
}

impl Default for Ranges {
    fn default() -> Self {
        let range = |address: IpAddr, length| {
            Cidr::containing(address, length).expect("a prefix that is not longer than the address")
        };
        Self {
            ipv4: range(Ipv4Addr::new(240, 240, 0, 0).into(), 16),
            ipv6: range(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0).into(), 48),
        }
    }
}

#[cfg(test)]
mod tests;
