//! What happens to a connection: the decisions of the eBPF programs, as pure functions.
//!
//! The programs bring the facts, lazily, so that a pod that is not captured pays for one look-up and no more;
//! these functions decide; the programs carry it out. [`connect`] decides in the caller's `connect(2)`,
//! [`steer`] when the SYN looks for a listener, [`guard`] when a packet is about to leave the pod, [`backstop`] when it has left, [`sockopt`] when a program asks the
//! kernel for a way past both, [`probe`] when a process of the node dials.
#![no_std]
#![forbid(unsafe_code)]

pub mod backstop;
pub mod connect;
mod exclusion;
pub mod guard;
pub mod probe;
pub mod sockopt;
pub mod steer;

/// `127.0.0.0/8`, `::1`, and the unspecified addresses, which Linux takes for loopback in `connect(2)`.
#[inline(always)]
pub fn is_loopback(address: &[u8; 16]) -> bool {
    matches!(
        address,
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, ..]
            | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]
            | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 | 1]
    )
}

/// `fe80::/10`. Such an address means something only together with an interface, so it cannot be turned.
#[inline(always)]
pub fn is_link_local_v6(address: &[u8; 16]) -> bool {
    address[0] == 0xfe && address[1] & 0xc0 == 0x80
}

#[cfg(test)]
mod tests {
    use super::{is_link_local_v6, is_loopback};

    extern crate std;
    use std::net::Ipv6Addr;

    #[test]
    fn addresses_that_never_leave_the_pod() {
        for (address, loopback, link_local) in [
            ("::1", true, false),
            ("::", true, false),
            ("::ffff:127.0.0.1", true, false),
            ("::ffff:127.9.9.9", true, false),
            ("::ffff:0.0.0.0", true, false),
            ("::ffff:0.0.0.1", false, false),
            ("::ffff:192.0.2.1", false, false),
            ("::2", false, false),
            ("2001:db8::1", false, false),
            ("fe80::1", false, true),
            ("febf::1", false, true),
            ("fec0::1", false, false),
            ("::ffff:169.254.20.10", false, false),
        ] {
            let octets = address.parse::<Ipv6Addr>().unwrap().octets();
            assert_eq!(is_loopback(&octets), loopback, "{address}");
            assert_eq!(is_link_local_v6(&octets), link_local, "{address}");
        }
    }
}
