//! The registry: addresses that somebody in the mesh has.

/// Key of `REGISTRY`, a trie: `kind` is matched whole, of `value` as many bits as the entry says.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegistryKey {
    /// 4 or 6 of an address, for `::/0` does not mean IPv4; 0 of a port that a service has of every address.
    pub kind: u32,
    /// An address as in [`AddressKey`](crate::AddressKey), or a port and nothing, in network byte order.
    pub value: [u8; 16],
}

const _: () = assert!(size_of::<RegistryKey>() == 20);

// === impl RegistryKey ===

impl RegistryKey {
    /// The bits before `value`.
    pub const FIXED_BITS: u32 = 32;
    /// Those of `value`.
    pub const VALUE_BITS: u32 = 128;

    /// Says that all that belongs into the map is there.
    pub const COMPLETE: Self = Self { kind: 1, value: [0; 16] };

    pub const fn of_address(address: [u8; 16]) -> Self {
        let kind = match address {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..] => 4,
            _ => 6,
        };
        Self { kind, value: address }
    }

    pub const fn of_port(port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        Self { kind: 0, value: [high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] }
    }
}

#[cfg(feature = "user")]
mod user {
    use super::RegistryKey;

    // SAFETY: `repr(C)`, `Copy`, and every byte is a field: there is no padding to leak or to invent.
    unsafe impl aya::Pod for RegistryKey {}
}
