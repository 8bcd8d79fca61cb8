use abi::{Counter, PodEntry};

use super::{Facts, Orphan, Verdict, decide, orphan};

const CLOSED: PodEntry = PodEntry { open_when_agent_down: 0, reserved: [0; 7] };
const OPEN: PodEntry = PodEntry { open_when_agent_down: 1, reserved: [0; 7] };

#[derive(Clone, Copy)]
struct Syn {
    pod: Option<PodEntry>,
    to_loopback: bool,
    to_own_address: bool,
    by_itself: bool,
    over_lo: bool,
}

/// From another host to the captured pod.
const INBOUND: Syn =
    Syn { pod: Some(CLOSED), to_loopback: false, to_own_address: true, by_itself: false, over_lo: false };

/// From an application of the captured pod to another host, turned over lo.
const TURNED: Syn = Syn { to_own_address: false, by_itself: true, over_lo: true, ..INBOUND };

impl Facts for Syn {
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
