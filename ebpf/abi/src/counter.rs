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
    ConnectOpenAgentDown = 5,
    ConnectRefusedAgentDown = 6,
    ConnectFailed = 7,
    SteerOutbound = 8,
    SteerInbound = 9,
    SteerDelivery = 10,
    SteerOwnAddress = 11,
    SteerReleasing = 12,
    SteerOpenAgentDown = 13,
    SteerRefusedAgentDown = 14,
}

impl Counter {
    pub const ALL: [Self; 15] = [
        Self::ConnectCaptured,
        Self::ConnectLoopback,
        Self::ConnectOwnAddress,
        Self::ConnectLinkLocal,
        Self::ConnectAgent,
        Self::ConnectOpenAgentDown,
        Self::ConnectRefusedAgentDown,
        Self::ConnectFailed,
        Self::SteerOutbound,
        Self::SteerInbound,
        Self::SteerDelivery,
        Self::SteerOwnAddress,
        Self::SteerReleasing,
        Self::SteerOpenAgentDown,
        Self::SteerRefusedAgentDown,
    ];

    /// The program that counts.
    pub const fn program(self) -> &'static str {
        if (self as u32) < Self::SteerOutbound as u32 { "connect" } else { "steer" }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnectCaptured => "captured",
            Self::ConnectLoopback => "passed: to loopback",
            Self::ConnectOwnAddress | Self::SteerOwnAddress => "passed: pod's own address",
            Self::ConnectLinkLocal => "passed: IPv6 link-local",
            Self::ConnectAgent => "passed: the agent's own",
            Self::ConnectOpenAgentDown | Self::SteerOpenAgentDown => "passed: agent down, open",
            Self::ConnectRefusedAgentDown | Self::SteerRefusedAgentDown => "refused: agent down, closed",
            Self::ConnectFailed => "refused: mark could not be set",
            Self::SteerOutbound => "to outbound listener",
            Self::SteerInbound => "to inbound listener",
            Self::SteerDelivery => "passed: delivery to the application",
            Self::SteerReleasing => "passed: pod is being released",
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
