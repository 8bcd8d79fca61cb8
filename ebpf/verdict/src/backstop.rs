//! tc ingress on the node's end of a pod's interface: did this packet leave past the guard?

use abi::{Counter, PodEntry};

use crate::guard::Segment;

/// What the program can find out. Each is asked at most once, and only when it matters.
pub trait Facts {
    fn segment(&self) -> Segment;
    /// The guard has let this packet out, or one with the same addresses, lately.
    fn is_admitted(&self) -> bool;
    /// The entry of the pod's network namespace; none while it is being released.
    fn pod(&self) -> Option<PodEntry>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Drop(Counter),
}

#[inline(always)]
pub fn decide(facts: &impl Facts) -> Verdict {
    match facts.segment() {
        // Without a first segment nobody listens to these; UDP is not kept in.
        Segment::Later | Segment::Query => Verdict::Pass,
        Segment::First | Segment::Unreadable if facts.is_admitted() || facts.pod().is_none() => Verdict::Pass,
        Segment::First | Segment::Unreadable => Verdict::Drop(Counter::BackstopDropped),
    }
}

#[cfg(test)]
mod tests {
    use abi::{Counter, PodEntry};

    use super::{Facts, Verdict, decide};
    use crate::guard::Segment::{self, First, Later, Query, Unreadable};

    struct Case {
        segment: Segment,
        is_admitted: bool,
        is_captured: bool,
    }

    impl Facts for Case {
        fn segment(&self) -> Segment {
            self.segment
        }

        fn is_admitted(&self) -> bool {
            self.is_admitted
        }

        fn pod(&self) -> Option<PodEntry> {
            self.is_captured.then_some(PodEntry {
                open_when_agent_down: 0,
                excludes: 0,
                captures_dns: 1,
                registry_only: 0,
                reserved: [0; 4],
            })
        }
    }

    #[test]
    fn what_the_guard_has_not_seen_does_not_begin() {
        let dropped = Verdict::Drop(Counter::BackstopDropped);
        for (name, segment, is_admitted, is_captured, expected) in [
            ("a SYN past the guard", First, false, true, dropped),
            ("a fragment past the guard", Unreadable, false, true, dropped),
            ("a SYN through the guard", First, true, true, Verdict::Pass),
            ("a fragment through the guard", Unreadable, true, true, Verdict::Pass),
            ("a SYN of a pod that is being released", First, false, false, Verdict::Pass),
            ("a later segment, of whatever age", Later, false, true, Verdict::Pass),
            ("a DNS query", Query, false, true, Verdict::Pass),
        ] {
            assert_eq!(decide(&Case { segment, is_admitted, is_captured }), expected, "{name}");
        }
    }
}
