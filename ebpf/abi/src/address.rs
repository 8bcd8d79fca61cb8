//! Addresses as map keys.

/// `LOOPBACK_IFINDEX` of the kernel: `lo` is interface 1 in every network namespace
/// ([include/net/flow.h](https://github.com/torvalds/linux/blob/v6.12/include/net/flow.h)).
pub const LOOPBACK_IFINDEX: u32 = 1;

/// Key of `ADDRESSES`: an address that is assigned in the network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressKey {
    pub netns_cookie: u64,
    /// Network byte order; IPv4 in its IPv6-mapped form, see [`mapped`].
    pub address: [u8; 16],
}

const _: () = assert!(size_of::<AddressKey>() == 24);

/// `::ffff:a.b.c.d`: the one spelling that both families share in keys.
pub const fn mapped(v4: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = v4;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
