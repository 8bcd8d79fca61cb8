use abi::{Counter, ExclusionList, PodEntry};

use super::{Facts, Segment, Verdict, decide};

const CLOSED: PodEntry =
    PodEntry { open_when_agent_down: 0, excludes: 0, captures_dns: 1, registry_only: 0, reserved: [0; 4] };
const OPEN: PodEntry = PodEntry { open_when_agent_down: 1, ..CLOSED };

fn excluding(list: ExclusionList, pod: PodEntry) -> Option<PodEntry> {
    Some(PodEntry { excludes: list.bit(), ..pod })
}

#[derive(Clone, Copy)]
struct Packet {
    /// The list that it is on.
    on: Option<ExclusionList>,
    segment: Segment,
    by_agent: bool,
    pod: Option<PodEntry>,
    to_link_local: bool,
    listening: bool,
    answering: bool,
    is_ours: bool,
    is_forwarded: bool,
    is_ethernet: bool,
    is_turned: bool,
}

/// A connection of a captured pod that came by another way, with the agent alive.
const STRAY: Packet = Packet {
    on: None,
    segment: Segment::First,
    by_agent: false,
    pod: Some(CLOSED),
    to_link_local: false,
    listening: true,
    answering: true,
    is_ours: true,
    is_forwarded: false,
    is_ethernet: true,
    is_turned: false,
};

impl Facts for Packet {
    fn segment(&self) -> Segment {
        self.segment
    }
    fn by_agent(&self) -> bool {
        self.by_agent
    }
    fn is_excluded(&self, by: ExclusionList) -> bool {
        let pod = self.pod.expect("asked of a pod that is not captured");
        assert!(pod.has(by), "looked for on {by:?}, which the pod does not have");
        self.on == Some(by)
    }
    fn pod(&self) -> Option<PodEntry> {
        self.pod
    }
    fn to_link_local(&self) -> bool {
        self.to_link_local
    }
    fn listening(&self) -> bool {
        self.listening
    }
    fn answering(&self) -> bool {
        self.answering
    }
    fn is_ours(&self) -> bool {
        self.is_ours
    }
    fn is_forwarded(&self) -> bool {
        self.is_forwarded
    }
    fn is_ethernet(&self) -> bool {
        self.is_ethernet
    }
    fn is_turned(&self) -> bool {
        self.is_turned
    }
}

#[test]
fn a_packet_that_would_leave_the_pod() {
    let later = Packet { segment: Segment::Later, ..STRAY };
    let unreadable = Packet { segment: Segment::Unreadable, ..STRAY };
    for (case, packet, expected) in [
        ("is turned when it begins a connection", STRAY, Verdict::Turn),
        ("is turned in open mode too", Packet { pod: Some(OPEN), ..STRAY }, Verdict::Turn),
        ("leaves when the agent sent it", Packet { by_agent: true, ..STRAY }, Verdict::Leave),
        (
            "leaves when the agent sent it and the pod is released",
            Packet { by_agent: true, pod: None, ..STRAY },
            Verdict::Leave,
        ),
        ("passes while released", Packet { pod: None, ..STRAY }, Verdict::Pass(Counter::GuardReleasing)),
        (
            "passes to a link-local address",
            Packet { to_link_local: true, ..STRAY },
            Verdict::Pass(Counter::GuardLinkLocal),
        ),
        (
            "is dropped without an agent, closed",
            Packet { listening: false, ..STRAY },
            Verdict::Drop(Counter::GuardDroppedAgentDown),
        ),
        (
            "passes without an agent, open",
            Packet { listening: false, pod: Some(OPEN), ..STRAY },
            Verdict::Pass(Counter::GuardOpenAgentDown),
        ),
        (
            "is dropped where it cannot be turned",
            Packet { is_ethernet: false, ..STRAY },
            Verdict::Drop(Counter::GuardDroppedNoEthernet),
        ),
        (
            "is dropped when a nested namespace sent it",
            Packet { is_ours: false, ..STRAY },
            Verdict::Drop(Counter::GuardDroppedForeign),
        ),
        (
            "is dropped when a nested namespace sent it in the pod's name",
            Packet { is_forwarded: true, ..STRAY },
            Verdict::Drop(Counter::GuardDroppedForwarded),
        ),
        (
            "passes when a nested namespace sent it, open, without an agent",
            Packet { is_ours: false, listening: false, pod: Some(OPEN), ..STRAY },
            Verdict::Pass(Counter::GuardOpenAgentDown),
        ),
        ("leaves when its connection is older", later, Verdict::Leave),
        ("is turned when its first was", Packet { is_turned: true, ..later }, Verdict::Turn),
        (
            "is turned when its first was, also while released",
            Packet { is_turned: true, pod: None, ..later },
            Verdict::Turn,
        ),
        (
            "is dropped when nobody can read it, closed",
            unreadable,
            Verdict::Drop(Counter::GuardDroppedUnreadable),
        ),
        (
            "passes when nobody can read it, open",
            Packet { pod: Some(OPEN), ..unreadable },
            Verdict::Pass(Counter::GuardPassedUnreadable),
        ),
    ] {
        assert_eq!(decide(&packet), expected, "{case}");
    }
}

#[test]
fn a_packet_to_what_is_excluded() {
    use ExclusionList::{InboundCidrs, OutboundCidrs, OutboundPorts};
    let excluded = Verdict::Pass(Counter::GuardExcluded);
    let by = |list| Packet { pod: excluding(list, CLOSED), on: Some(list), ..STRAY };
    for (case, packet, expected) in [
        ("leaves by its address", by(OutboundCidrs), excluded),
        ("leaves by its port", by(OutboundPorts), excluded),
        ("leaves without an agent, closed", Packet { listening: false, ..by(OutboundPorts) }, excluded),
        ("leaves from a nested namespace", Packet { is_ours: false, ..by(OutboundPorts) }, excluded),
        ("leaves where it could not be turned", Packet { is_ethernet: false, ..by(OutboundPorts) }, excluded),
        ("is turned on the list of the other direction", by(InboundCidrs), Verdict::Turn),
        (
            "is turned when the list is out of force",
            Packet { on: Some(OutboundPorts), ..STRAY },
            Verdict::Turn,
        ),
        (
            "is turned when its first was, though it is excluded since",
            Packet { segment: Segment::Later, is_turned: true, ..by(OutboundCidrs) },
            Verdict::Turn,
        ),
        ("leaves, readable or not", Packet { segment: Segment::Unreadable, ..by(OutboundCidrs) }, excluded),
        (
            "is dropped when nobody can read it, to what is not excluded",
            Packet { segment: Segment::Unreadable, on: None, ..by(OutboundCidrs) },
            Verdict::Drop(Counter::GuardDroppedUnreadable),
        ),
    ] {
        assert_eq!(decide(&packet), expected, "{case}");
    }
}

#[test]
fn a_query_for_a_resolver() {
    use ExclusionList::{OutboundCidrs, OutboundPorts};
    let query = Packet { segment: Segment::Query, ..STRAY };
    let dead = Packet { answering: false, ..query };
    let excluded = |list| Packet { pod: excluding(list, CLOSED), on: Some(list), ..query };
    let not_captured = PodEntry { captures_dns: 0, ..CLOSED };
    let pass = Verdict::Pass;
    for (case, packet, expected) in [
        ("is turned", query, Verdict::Turn),
        ("is turned in open mode too", Packet { pod: Some(OPEN), ..query }, Verdict::Turn),
        ("leaves when the agent forwards it", Packet { by_agent: true, ..query }, Verdict::Leave),
        ("passes while released", Packet { pod: None, ..query }, pass(Counter::GuardReleasing)),
        (
            "passes like any UDP where the pod does not want it",
            Packet { pod: Some(not_captured), ..query },
            pass(Counter::GuardOtherProtocol),
        ),
        (
            "passes to a link-local resolver",
            Packet { to_link_local: true, ..query },
            pass(Counter::GuardLinkLocal),
        ),
        ("passes to an excluded resolver", excluded(OutboundCidrs), pass(Counter::GuardExcluded)),
        ("passes where port 53 is excluded", excluded(OutboundPorts), pass(Counter::GuardExcluded)),
        (
            "reaches its resolver without an agent, open",
            Packet { pod: Some(OPEN), ..dead },
            pass(Counter::GuardOpenAgentDown),
        ),
        ("is turned to be refused at once without an agent, closed", dead, Verdict::Turn),
        (
            "passes when a nested namespace sent it",
            Packet { is_ours: false, ..query },
            pass(Counter::GuardForwardedQuery),
        ),
        (
            "passes when a nested namespace sent it in the pod's name",
            Packet { is_forwarded: true, ..query },
            pass(Counter::GuardForwardedQuery),
        ),
        (
            "passes where it cannot be turned",
            Packet { is_ethernet: false, ..query },
            pass(Counter::GuardStuckQuery),
        ),
    ] {
        assert_eq!(decide(&packet), expected, "{case}");
    }
}
