//! Exclusions: connections of a captured pod that pass without the proxy.

/// Which of a pod's lists. A connection is excluded if its address or its port is on the list of its direction.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExclusionList {
    /// Destinations.
    OutboundCidrs = 0,
    OutboundPorts = 1,
    /// Clients.
    InboundCidrs = 2,
    /// Ports of the pod.
    InboundPorts = 3,
}

/// Key of `EXCLUSIONS`, a trie: all before `value` is matched whole, of `value` as many bits as the entry says.
///
/// A range of ports is a few prefixes of 16 bits, as a range of addresses is a few networks: no entry for each port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExclusionKey {
    /// An [`ExclusionList`]; a number, for any may come out of the kernel.
    pub list: u16,
    /// 4 or 6 of an address, for `::/0` does not mean IPv4; 0 of a port.
    pub family: u16,
    /// In bytes, so that nothing is padded.
    pub netns_cookie: [u8; 8],
    /// An address as in [`AddressKey`](crate::AddressKey), or a port and nothing, in network byte order.
    pub value: [u8; 16],
}

const _: () = assert!(size_of::<ExclusionKey>() == 28);

// === impl ExclusionList ===

impl ExclusionList {
    pub const ALL: [Self; 4] =
        [Self::OutboundCidrs, Self::OutboundPorts, Self::InboundCidrs, Self::InboundPorts];

    /// In [`PodEntry::excludes`](crate::PodEntry::excludes).
    pub const fn bit(self) -> u8 {
        1 << self as u16
    }
}

// === impl ExclusionKey ===

impl ExclusionKey {
    /// The bits before `value`.
    pub const FIXED_BITS: u32 = 96;
    /// Those of `value`.
    pub const VALUE_BITS: u32 = 128;

    pub const fn of_address(netns_cookie: u64, list: ExclusionList, address: [u8; 16]) -> Self {
        let family = match address {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..] => 4,
            _ => 6,
        };
        Self { list: list as u16, family, netns_cookie: netns_cookie.to_ne_bytes(), value: address }
    }

    pub const fn of_port(netns_cookie: u64, list: ExclusionList, port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        let value = [high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Self { list: list as u16, family: 0, netns_cookie: netns_cookie.to_ne_bytes(), value }
    }
}

#[cfg(feature = "user")]
mod user {
    use super::{ExclusionKey, ExclusionList};

    // SAFETY: `repr(C)`, `Copy`, and every byte is a field: there is no padding to leak or to invent.
    unsafe impl aya::Pod for ExclusionKey {}

    impl ExclusionKey {
        pub fn list(self) -> Option<ExclusionList> {
            ExclusionList::ALL.into_iter().find(|list| *list as u16 == self.list)
        }
    }
}
