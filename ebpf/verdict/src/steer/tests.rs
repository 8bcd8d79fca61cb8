use abi::{Counter, ExclusionList, PodEntry};

use super::{Facts, Orphan, Verdict, decide, is_query, orphan};

const CLOSED: PodEntry =
    PodEntry { open_when_agent_down: 0, excludes: 0, captures_dns: 1, registry_only: 0, reserved: [0; 4] };
const OPEN: PodEntry = PodEntry { open_when_agent_down: 1, ..CLOSED };

fn excluding(list: ExclusionList, pod: PodEntry) -> Option<PodEntry> {
    Some(PodEntry { excludes: list.bit(), ..pod })
}

#[derive(Clone, Copy)]
struct Syn {
    /// The list that it is on.
    on: Option<ExclusionList>,
    pod: Option<PodEntry>,
    to_loopback: bool,
    to_own_address: bool,
    by_itself: bool,
    over_lo: bool,
    is_probe: bool,
}

/// From another host to the captured pod.
const INBOUND: Syn = Syn {
    on: None,
    pod: Some(CLOSED),
    to_loopback: false,
    to_own_address: true,
    by_itself: false,
    over_lo: false,
    is_probe: false,
};

/// From an application of the captured pod to another host, turned over lo.
const TURNED: Syn = Syn { to_own_address: false, by_itself: true, over_lo: true, ..INBOUND };

impl Facts for Syn {
    fn is_excluded(&self, by: ExclusionList) -> bool {
        let pod = self.pod.expect("asked of a pod that is not captured");
        assert!(pod.has(by), "looked for on {by:?}, which the pod does not have");
        self.on == Some(by)
    }
    fn is_probe(&self) -> bool {
        self.is_probe
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
    fn by_itself(&self) -> bool {
        self.by_itself
    }
    fn over_lo(&self) -> bool {
        self.over_lo
    }
}

#[test]
fn a_syn_goes() {
    for (case, syn, expected) in [
        ("to the inbound listener", INBOUND, Verdict::Inbound),
        (
            "to the inbound listener for an address we have not heard of yet",
            Syn { to_own_address: false, ..INBOUND },
            Verdict::Inbound,
        ),
        ("to the outbound listener", TURNED, Verdict::Outbound),
        (
            "to the outbound listener while the pod is being released",
            Syn { pod: None, ..TURNED },
            Verdict::Outbound,
        ),
        (
            "to the application while the pod is being released",
            Syn { pod: None, ..INBOUND },
            Verdict::Pass(Counter::SteerReleasing),
        ),
        (
            "to the application when the proxy delivers",
            Syn { to_own_address: true, by_itself: false, ..TURNED },
            Verdict::Pass(Counter::SteerDelivery),
        ),
        (
            "to the application when the proxy delivers to the caller's own pod",
            Syn { to_own_address: true, ..TURNED },
            Verdict::Pass(Counter::SteerDelivery),
        ),
        (
            "to the application when the pod calls itself",
            Syn { by_itself: true, ..INBOUND },
            Verdict::Pass(Counter::SteerOwnAddress),
        ),
        (
            "to the outbound listener when the guard turned it",
            Syn { over_lo: false, ..TURNED },
            Verdict::Outbound,
        ),
        (
            "to the application when the kubelet probes",
            Syn { is_probe: true, ..INBOUND },
            Verdict::Pass(Counter::SteerProbe),
        ),
        (
            "to the outbound listener when the pod's own look like a probe",
            Syn { is_probe: true, ..TURNED },
            Verdict::Outbound,
        ),
        (
            "to the application on loopback",
            Syn { to_loopback: true, to_own_address: false, over_lo: true, ..INBOUND },
            Verdict::Pass(Counter::SteerOwnAddress),
        ),
    ] {
        assert_eq!(decide(&syn), expected, "{case}");
    }
}

#[test]
fn without_a_listener_a_syn_is() {
    for (case, pod, expected) in [
        ("refused in closed mode", Some(CLOSED), Orphan::Refuse),
        ("passed in open mode", Some(OPEN), Orphan::Pass),
        ("refused when it was captured before the release", None, Orphan::Refuse),
    ] {
        assert_eq!(orphan(pod), expected, "{case}");
    }
}

#[test]
fn a_syn_that_is_excluded_goes() {
    use ExclusionList::{InboundCidrs, InboundPorts, OutboundPorts};
    let excluded = Verdict::Pass(Counter::SteerExcluded);
    let by = |list| Syn { pod: excluding(list, CLOSED), on: Some(list), ..INBOUND };
    for (case, syn, expected) in [
        ("to the application by the client's address", by(InboundCidrs), excluded),
        ("to the application by the pod's port", by(InboundPorts), excluded),
        ("to the inbound listener on the list of the other direction", by(OutboundPorts), Verdict::Inbound),
        (
            "to the inbound listener when the list is out of force",
            Syn { on: Some(InboundPorts), ..INBOUND },
            Verdict::Inbound,
        ),
        (
            "to the application while the pod is being released",
            Syn { pod: None, ..by(InboundPorts) },
            Verdict::Pass(Counter::SteerReleasing),
        ),
        (
            "to the outbound listener when it was captured as one",
            Syn { pod: excluding(InboundPorts, CLOSED), on: Some(InboundPorts), ..TURNED },
            Verdict::Outbound,
        ),
        (
            "to the application when the proxy delivers",
            Syn { over_lo: true, ..by(InboundPorts) },
            Verdict::Pass(Counter::SteerDelivery),
        ),
    ] {
        assert_eq!(decide(&syn), expected, "{case}");
    }
}

#[test]
fn a_datagram_to_port_53() {
    for (case, to_loopback, to_own_address, expected) in [
        ("to a resolver elsewhere", false, false, true),
        ("to a resolver in the pod", false, true, false),
        ("to a resolver at a loopback address", true, false, false),
    ] {
        assert_eq!(is_query(to_loopback, to_own_address), expected, "{case}");
    }
}
