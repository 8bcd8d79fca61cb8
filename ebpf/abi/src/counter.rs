//! What the programs count.

/// Index into `COUNTERS`. One for each outcome of `verdict`, so that nothing happens to a captured pod's
/// connection unseen.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    ConnectCaptured = 0,
    ConnectLoopback = 1,
    ConnectOwnAddress = 2,
    ConnectLinkLocal = 3,
    ConnectAgent = 4,
    ConnectExcluded = 5,
    ConnectOpenAgentDown = 6,
    ConnectRefusedAgentDown = 7,
    ConnectFailed = 8,
    SteerOutbound = 9,
    SteerInbound = 10,
    SteerDelivery = 11,
    SteerOwnAddress = 12,
    SteerReleasing = 13,
    SteerExcluded = 14,
    SteerOpenAgentDown = 15,
    SteerRefusedAgentDown = 16,
    GuardTurned = 17,
    GuardReleasing = 18,
    GuardLinkLocal = 19,
    GuardExcluded = 20,
    GuardOpenAgentDown = 21,
    GuardDroppedAgentDown = 22,
    GuardDroppedNoEthernet = 23,
    GuardDroppedUnreadable = 24,
    GuardPassedUnreadable = 25,
    GuardOtherProtocol = 26,
    GuardDroppedForeign = 27,
    GuardDroppedForwarded = 28,
    BackstopDropped = 29,
    SockoptRefused = 30,
}

impl Counter {
    pub const ALL: [Self; 31] = [
        Self::ConnectCaptured,
        Self::ConnectLoopback,
        Self::ConnectOwnAddress,
        Self::ConnectLinkLocal,
        Self::ConnectAgent,
        Self::ConnectExcluded,
        Self::ConnectOpenAgentDown,
        Self::ConnectRefusedAgentDown,
        Self::ConnectFailed,
        Self::SteerOutbound,
        Self::SteerInbound,
        Self::SteerDelivery,
        Self::SteerOwnAddress,
        Self::SteerReleasing,
        Self::SteerExcluded,
        Self::SteerOpenAgentDown,
        Self::SteerRefusedAgentDown,
        Self::GuardTurned,
        Self::GuardReleasing,
        Self::GuardLinkLocal,
        Self::GuardExcluded,
        Self::GuardOpenAgentDown,
        Self::GuardDroppedAgentDown,
        Self::GuardDroppedNoEthernet,
        Self::GuardDroppedUnreadable,
        Self::GuardPassedUnreadable,
        Self::GuardOtherProtocol,
        Self::GuardDroppedForeign,
        Self::GuardDroppedForwarded,
        Self::BackstopDropped,
        Self::SockoptRefused,
    ];

    /// The program that counts.
    pub const fn program(self) -> &'static str {
        if (self as u32) < Self::SteerOutbound as u32 {
            "connect"
        } else if (self as u32) < Self::GuardTurned as u32 {
            "steer"
        } else if (self as u32) < Self::BackstopDropped as u32 {
            "guard"
        } else if (self as u32) < Self::SockoptRefused as u32 {
            "backstop"
        } else {
            "setsockopt"
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnectCaptured => "captured",
            Self::ConnectLoopback => "passed: to loopback",
            Self::ConnectOwnAddress | Self::SteerOwnAddress => "passed: pod's own address",
            Self::ConnectLinkLocal | Self::GuardLinkLocal => "passed: IPv6 link-local",
            Self::ConnectAgent => "passed: the agent's own",
            Self::ConnectExcluded | Self::SteerExcluded | Self::GuardExcluded => "passed: excluded",
            Self::ConnectOpenAgentDown | Self::SteerOpenAgentDown | Self::GuardOpenAgentDown => {
                "passed: agent down, open"
            }
            Self::ConnectRefusedAgentDown | Self::SteerRefusedAgentDown => "refused: agent down, closed",
            Self::ConnectFailed => "refused: mark could not be set",
            Self::SteerOutbound => "to outbound listener",
            Self::SteerInbound => "to inbound listener",
            Self::SteerDelivery => "passed: delivery to the application",
            Self::SteerReleasing | Self::GuardReleasing => "passed: pod is being released",
            Self::GuardTurned => "turned into the proxy",
            Self::GuardDroppedAgentDown => "dropped: agent down, closed",
            Self::GuardDroppedNoEthernet => "dropped: cannot be turned on this interface",
            Self::GuardDroppedUnreadable => "dropped: fragment or header that cannot be read",
            Self::GuardPassedUnreadable => "passed: fragment or header that cannot be read, open",
            Self::GuardOtherProtocol => "passed: not TCP",
            Self::GuardDroppedForeign => "dropped: from an address that is not the pod's",
            Self::GuardDroppedForwarded => "dropped: forwarded for a nested namespace",
            Self::BackstopDropped => "dropped: left past the guard",
            Self::SockoptRefused => "refused: PACKET_QDISC_BYPASS or AF_XDP",
        }
    }
}

const _: () = {
    let mut i = 0;
    while i < Counter::ALL.len() {
        assert!(Counter::ALL[i] as usize == i);
        i += 1;
    }
};
