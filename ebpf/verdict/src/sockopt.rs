//! `setsockopt(2)`: does this option let packets out past the guard?

// include/uapi/linux/if_packet.h, include/linux/socket.h
const SOL_PACKET: i32 = 263;
const PACKET_QDISC_BYPASS: i32 = 20;
const SOL_XDP: i32 = 283;

/// A packet socket that skips the egress hooks, or any step towards an AF_XDP socket, which never meets them.
#[inline(always)]
pub fn evades(level: i32, option: i32) -> bool {
    level == SOL_XDP || level == SOL_PACKET && option == PACKET_QDISC_BYPASS
}

#[cfg(test)]
mod tests {
    use super::evades;

    #[test]
    fn options() {
        for (name, level, option, expected) in [
            ("PACKET_QDISC_BYPASS", 263, 20, true),
            ("PACKET_ADD_MEMBERSHIP", 263, 1, false),
            ("XDP_TX_RING", 283, 3, true),
            ("XDP_UMEM_REG", 283, 4, true),
            ("IP_MULTICAST_TTL's neighbour 20 of SOL_IP", 0, 20, false),
            ("SO_REUSEADDR", 1, 2, false),
        ] {
            assert_eq!(evades(level, option), expected, "{name}");
        }
    }
}
