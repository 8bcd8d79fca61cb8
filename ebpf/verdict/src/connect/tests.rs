use abi::{Counter, PodEntry};

use super::{Facts, Verdict, decide};

const CLOSED: PodEntry = PodEntry { open_when_agent_down: 0, reserved: [0; 7] };
const OPEN: PodEntry = PodEntry { open_when_agent_down: 1, reserved: [0; 7] };

#[derive(Clone, Copy)]
struct Call {
    pod: Option<PodEntry>,
    to_loopback: bool,
    to_own_address: bool,
    to_link_local: bool,
    by_agent: bool,
    listening: bool,
}

/// A captured pod that dials another host, with the agent alive.
const CALL: Call = Call {
    pod: Some(CLOSED),
    to_loopback: false,
    to_own_address: false,
    to_link_local: false,
    by_agent: false,
    listening: true,
};

impl Facts for Call {
    fn pod(&self) -> Option<PodEntry> {
        self.pod
    }
    fn to_loopback(&self) -> bool {
        self.to_loopback
    }
    fn to_own_address(&self) -> bool {
        self.to_own_address
    }
    fn to_link_local(&self) -> bool {
        self.to_link_local
    }
    fn by_agent(&self) -> bool {
        self.by_agent
    }
    fn listening(&self) -> bool {
        self.listening
    }
}

#[test]
fn a_new_connection_is() {
    for (case, call, expected) in [
        ("captured", CALL, Verdict::Capture),
        ("captured in open mode too", Call { pod: Some(OPEN), ..CALL }, Verdict::Capture),
        ("not touched outside captured pods", Call { pod: None, ..CALL }, Verdict::NotCaptured),
        ("passed to loopback", Call { to_loopback: true, ..CALL }, Verdict::Pass(Counter::ConnectLoopback)),
        (
            "passed to the pod's own address",
            Call { to_own_address: true, ..CALL },
            Verdict::Pass(Counter::ConnectOwnAddress),
        ),
        (
            "passed to loopback although the agent is dead",
            Call { to_loopback: true, listening: false, ..CALL },
            Verdict::Pass(Counter::ConnectLoopback),
        ),
        (
            "passed to its own address although the agent is dead",
            Call { to_own_address: true, listening: false, ..CALL },
            Verdict::Pass(Counter::ConnectOwnAddress),
        ),
        (
            "passed to a link-local address",
            Call { to_link_local: true, ..CALL },
            Verdict::Pass(Counter::ConnectLinkLocal),
        ),
        ("passed for the agent", Call { by_agent: true, ..CALL }, Verdict::Pass(Counter::ConnectAgent)),
        ("refused, agent dead, closed", Call { listening: false, ..CALL }, Verdict::Refuse),
        (
            "passed, agent dead, open",
            Call { pod: Some(OPEN), listening: false, ..CALL },
            Verdict::Pass(Counter::ConnectOpenAgentDown),
        ),
    ] {
        assert_eq!(decide(&call), expected, "{case}");
    }
}
