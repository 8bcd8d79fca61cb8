use abi::{Counter, ExclusionList, PodEntry};

use super::{Facts, Verdict, decide, refuses_query};

const CLOSED: PodEntry =
    PodEntry { open_when_agent_down: 0, excludes: 0, captures_dns: 1, registry_only: 0, reserved: [0; 4] };
const OPEN: PodEntry = PodEntry { open_when_agent_down: 1, ..CLOSED };
const REGISTRY_ONLY: PodEntry = PodEntry { registry_only: 1, ..CLOSED };

fn excluding(list: ExclusionList, pod: PodEntry) -> Option<PodEntry> {
    Some(PodEntry { excludes: list.bit(), ..pod })
}

#[derive(Clone, Copy)]
struct Call {
    /// The list that it is on.
    on: Option<ExclusionList>,
    pod: Option<PodEntry>,
    to_loopback: bool,
    to_own_address: bool,
    to_link_local: bool,
    by_agent: bool,
    listening: bool,
    to_dns_port: bool,
    is_unregistered: bool,
}

/// A captured pod that dials another host, with the agent alive.
const CALL: Call = Call {
    on: None,
    pod: Some(CLOSED),
    to_loopback: false,
    to_own_address: false,
    to_link_local: false,
    by_agent: false,
    listening: true,
    to_dns_port: false,
    is_unregistered: false,
};

impl Facts for Call {
    fn is_excluded(&self, by: ExclusionList) -> bool {
        let pod = self.pod.expect("asked of a pod that is not captured");
        assert!(pod.has(by), "looked for on {by:?}, which the pod does not have");
        self.on == Some(by)
    }
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
    fn to_dns_port(&self) -> bool {
        self.to_dns_port
    }
    fn is_unregistered(&self) -> bool {
        assert_eq!(self.pod.map(|pod| pod.registry_only), Some(1), "asked for a pod that may dial anything");
        self.is_unregistered
    }
}

const DOWN: Verdict = Verdict::Refuse(Counter::ConnectRefusedAgentDown);

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
        ("refused, agent dead, closed", Call { listening: false, ..CALL }, DOWN),
        (
            "passed, agent dead, open",
            Call { pod: Some(OPEN), listening: false, ..CALL },
            Verdict::Pass(Counter::ConnectOpenAgentDown),
        ),
    ] {
        assert_eq!(decide(&call), expected, "{case}");
    }
}

#[test]
fn a_new_connection_to_what_is_excluded() {
    use ExclusionList::{InboundPorts, OutboundCidrs, OutboundPorts};
    let excluded = Verdict::Unmark(Counter::ConnectExcluded);
    let by = |list, pod| Call { pod: excluding(list, pod), on: Some(list), ..CALL };
    for (case, call, expected) in [
        ("passes by its address", by(OutboundCidrs, CLOSED), excluded),
        ("passes by its port", by(OutboundPorts, CLOSED), excluded),
        (
            "passes although the agent is dead, closed",
            Call { listening: false, ..by(OutboundPorts, CLOSED) },
            excluded,
        ),
        (
            "passes as excluded although the agent is dead, open",
            Call { listening: false, ..by(OutboundPorts, OPEN) },
            excluded,
        ),
        ("is captured on the list of the other direction", by(InboundPorts, CLOSED), Verdict::Capture),
        (
            "is captured when the list is out of force",
            Call { on: Some(OutboundPorts), ..CALL },
            Verdict::Capture,
        ),
        (
            "is captured when it is not on the list",
            Call { on: None, ..by(OutboundPorts, CLOSED) },
            Verdict::Capture,
        ),
        (
            "is the pod's own business first",
            Call { to_own_address: true, ..by(OutboundPorts, CLOSED) },
            Verdict::Pass(Counter::ConnectOwnAddress),
        ),
        (
            "is the agent's own first",
            Call { by_agent: true, ..by(OutboundPorts, CLOSED) },
            Verdict::Pass(Counter::ConnectAgent),
        ),
        (
            "is not touched while released",
            Call { pod: None, ..by(OutboundPorts, CLOSED) },
            Verdict::NotCaptured,
        ),
    ] {
        assert_eq!(decide(&call), expected, "{case}");
    }
}

#[test]
fn a_new_connection_of_a_pod_that_may_dial_only_what_is_registered() {
    let unknown = Call { pod: Some(REGISTRY_ONLY), is_unregistered: true, ..CALL };
    let no_dns = PodEntry { captures_dns: 0, ..REGISTRY_ONLY };
    let refused = Verdict::Refuse(Counter::ConnectRefusedNotRegistered);
    for (case, call, expected) in [
        ("is refused to what nobody has", unknown, refused),
        ("is captured to what somebody has", Call { is_unregistered: false, ..unknown }, Verdict::Capture),
        ("is captured to a resolver", Call { to_dns_port: true, ..unknown }, Verdict::Capture),
        (
            "is refused to a resolver where DNS is not captured",
            Call { to_dns_port: true, pod: Some(no_dns), ..unknown },
            refused,
        ),
        (
            "passes to itself",
            Call { to_own_address: true, ..unknown },
            Verdict::Pass(Counter::ConnectOwnAddress),
        ),
        (
            "passes to what is excluded",
            Call {
                pod: excluding(ExclusionList::OutboundCidrs, REGISTRY_ONLY),
                on: Some(ExclusionList::OutboundCidrs),
                ..unknown
            },
            Verdict::Unmark(Counter::ConnectExcluded),
        ),
        ("is told that the agent is dead first", Call { listening: false, ..unknown }, DOWN),
        (
            "passes while the agent is dead, open",
            Call {
                listening: false,
                pod: Some(PodEntry { open_when_agent_down: 1, ..REGISTRY_ONLY }),
                ..unknown
            },
            Verdict::Pass(Counter::ConnectOpenAgentDown),
        ),
    ] {
        assert_eq!(decide(&call), expected, "{case}");
    }
}

#[test]
fn a_socket_for_queries_is_refused() {
    let dead = Call { listening: false, ..CALL };
    for (case, call, expected) in [
        ("where nobody would answer", dead, true),
        ("not with the agent alive", CALL, false),
        ("not in open mode", Call { pod: Some(OPEN), ..dead }, false),
        (
            "not where DNS is not captured",
            Call { pod: Some(PodEntry { captures_dns: 0, ..CLOSED }), ..dead },
            false,
        ),
        ("not outside captured pods", Call { pod: None, ..dead }, false),
        ("not to loopback", Call { to_loopback: true, ..dead }, false),
        ("not to a server of the pod's own", Call { to_own_address: true, ..dead }, false),
        ("not to a link-local address", Call { to_link_local: true, ..dead }, false),
        ("not by the agent", Call { by_agent: true, ..dead }, false),
        (
            "not to what is excluded",
            Call {
                pod: excluding(ExclusionList::OutboundPorts, CLOSED),
                on: Some(ExclusionList::OutboundPorts),
                ..dead
            },
            false,
        ),
    ] {
        assert_eq!(refuses_query(&call), expected, "{case}");
    }
}
