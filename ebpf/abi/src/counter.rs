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
    ConnectRefusedNotRegistered = 8,
    ConnectFailed = 9,
    SteerOutbound = 10,
    SteerInbound = 11,
    SteerQuery = 12,
    SteerDelivery = 13,
    SteerOwnAddress = 14,
    SteerReleasing = 15,
    SteerExcluded = 16,
    SteerProbe = 17,
    SteerOpenAgentDown = 18,
    SteerRefusedAgentDown = 19,
    GuardTurned = 20,
    GuardTurnedQuery = 21,
    GuardReleasing = 22,
    GuardLinkLocal = 23,
    GuardExcluded = 24,
    GuardOpenAgentDown = 25,
    GuardDroppedAgentDown = 26,
    GuardDroppedNoEthernet = 27,
    GuardDroppedUnreadable = 28,
    GuardPassedUnreadable = 29,
    GuardOtherProtocol = 30,
    GuardForwardedQuery = 31,
    GuardStuckQuery = 32,
    GuardDroppedForeign = 33,
    GuardDroppedForwarded = 34,
    BackstopDropped = 35,
    SockoptRefused = 36,
    ProbeNoted = 37,
    ProbeFailed = 38,
}

impl Counter {
    pub const ALL: [Self; 39] = [
        Self::ConnectCaptured,
        Self::ConnectLoopback,
        Self::ConnectOwnAddress,
        Self::ConnectLinkLocal,
        Self::ConnectAgent,
        Self::ConnectExcluded,
        Self::ConnectOpenAgentDown,
        Self::ConnectRefusedAgentDown,
        Self::ConnectRefusedNotRegistered,
        Self::ConnectFailed,
        Self::SteerOutbound,
        Self::SteerInbound,
        Self::SteerQuery,
        Self::SteerDelivery,
        Self::SteerOwnAddress,
        Self::SteerReleasing,
        Self::SteerExcluded,
        Self::SteerProbe,
        Self::SteerOpenAgentDown,
        Self::SteerRefusedAgentDown,
        Self::GuardTurned,
        Self::GuardTurnedQuery,
        Self::GuardReleasing,
        Self::GuardLinkLocal,
        Self::GuardExcluded,
        Self::GuardOpenAgentDown,
        Self::GuardDroppedAgentDown,
        Self::GuardDroppedNoEthernet,
        Self::GuardDroppedUnreadable,
        Self::GuardPassedUnreadable,
        Self::GuardOtherProtocol,
        Self::GuardForwardedQuery,
        Self::GuardStuckQuery,
        Self::GuardDroppedForeign,
        Self::GuardDroppedForwarded,
        Self::BackstopDropped,
        Self::SockoptRefused,
        Self::ProbeNoted,
        Self::ProbeFailed,
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
        } else if (self as u32) < Self::ProbeNoted as u32 {
            "setsockopt"
        } else {
            "probe"
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
            Self::SteerProbe => "passed: probe from the node",
            Self::ConnectOpenAgentDown | Self::SteerOpenAgentDown | Self::GuardOpenAgentDown => {
                "passed: agent down, open"
            }
            Self::ConnectRefusedAgentDown | Self::SteerRefusedAgentDown => "refused: agent down, closed",
            Self::ConnectRefusedNotRegistered => "refused: not registered, REGISTRY_ONLY",
            Self::ConnectFailed => "refused: mark could not be set",
            Self::SteerOutbound => "to outbound listener",
            Self::SteerInbound => "to inbound listener",
            Self::SteerQuery => "DNS query to the proxy",
            Self::SteerDelivery => "passed: delivery to the application",
            Self::SteerReleasing | Self::GuardReleasing => "passed: pod is being released",
            Self::GuardTurned => "turned into the proxy",
            Self::GuardTurnedQuery => "DNS query turned into the proxy",
            Self::GuardDroppedAgentDown => "dropped: agent down, closed",
            Self::GuardDroppedNoEthernet => "dropped: cannot be turned on this interface",
            Self::GuardDroppedUnreadable => "dropped: fragment or header that cannot be read",
            Self::GuardPassedUnreadable => "passed: fragment or header that cannot be read, open",
            Self::GuardOtherProtocol => "passed: not TCP, nor DNS",
            Self::GuardForwardedQuery => "passed: DNS query of a nested namespace",
            Self::GuardStuckQuery => "passed: DNS query that cannot be turned on this interface",
            Self::GuardDroppedForeign => "dropped: from an address that is not the pod's",
            Self::GuardDroppedForwarded => "dropped: forwarded for a nested namespace",
            Self::BackstopDropped => "dropped: left past the guard",
            Self::SockoptRefused => "refused: PACKET_QDISC_BYPASS or AF_XDP",
            Self::ProbeNoted => "noted: a connection of who probes",
            Self::ProbeFailed => "not noted, so captured: a connection of who probes",
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
