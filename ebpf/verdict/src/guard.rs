//! tc egress on the pod's interfaces: may this packet leave?
//!
//! The connect hook and the rule bring new connections over `lo`; what comes here in spite of them went another way,
//! by mistake or on purpose. A mark proves nothing here: anybody with `CAP_NET_RAW` can set one.

use abi::{Counter, ExclusionList, PodEntry};

use crate::exclusion::excludes_outbound;

/// What kind of packet it is: a TCP segment, or a datagram for a resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// SYN without ACK: a connection begins.
    First,
    Later,
    /// UDP to port 53.
    Query,
    /// A fragment without a TCP header, or a chain of IPv6 headers that is too long.
    Unreadable,
}

/// What the program can find out. Each is asked at most once, and only when it matters.
pub trait Facts {
    fn segment(&self) -> Segment;
    /// Sent by a socket that was made in a cgroup of the agent.
    fn by_agent(&self) -> bool;
    /// The entry of this network namespace; none while the pod is being released.
    fn pod(&self) -> Option<PodEntry>;
    fn to_link_local(&self) -> bool;
    /// The destination is on that list, which is not empty. The port of what cannot be read is on none.
    fn is_excluded(&self, by: ExclusionList) -> bool;
    /// The pod's outbound listener of this family is open, and the agent lives.
    fn listening(&self) -> bool;
    /// The same of its socket for DNS.
    fn answering(&self) -> bool;
    /// The sender's address is assigned in this namespace.
    fn is_ours(&self) -> bool;
    /// Not of a socket in this namespace.
    fn is_forwarded(&self) -> bool;
    /// The frame has an Ethernet header, so it can come in again by the interface it leaves by.
    fn is_ethernet(&self) -> bool;
    /// The proxy has a socket for this connection: its first segment was turned.
    fn is_turned(&self) -> bool;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes its way, like most packets, and is not counted.
    Leave,
    Pass(Counter),
    /// Comes in again, marked, so that the rule delivers it here and `steer` hands it to the proxy.
    Turn,
    Drop(Counter),
}

#[inline(always)]
pub fn decide(facts: &impl Facts) -> Verdict {
    if facts.by_agent() {
        return Verdict::Leave;
    }
    match facts.segment() {
        Segment::First => begins(facts),
        Segment::Later if facts.is_turned() => Verdict::Turn,
        // Connections older than enrolment, and answers.
        Segment::Later => Verdict::Leave,
        Segment::Query => asks(facts),
        Segment::Unreadable => unreadable(facts),
    }
}

#[inline(always)]
fn begins(facts: &impl Facts) -> Verdict {
    let Some(pod) = facts.pod() else {
        return Verdict::Pass(Counter::GuardReleasing);
    };
    if facts.to_link_local() {
        return Verdict::Pass(Counter::GuardLinkLocal);
    }
    if excludes_outbound(pod, |list| facts.is_excluded(list)) {
        return Verdict::Pass(Counter::GuardExcluded);
    }
    if !facts.listening() {
        return match pod.open_when_agent_down {
            1 => Verdict::Pass(Counter::GuardOpenAgentDown),
            _ => Verdict::Drop(Counter::GuardDroppedAgentDown),
        };
    }
    if !facts.is_ours() {
        // A namespace nested in the pod, and routed: the proxy could neither answer it nor go on in its name.
        return Verdict::Drop(Counter::GuardDroppedForeign);
    }
    if facts.is_forwarded() {
        // The same behind the pod's own MASQUERADE: what is turned begins a second entry in its connection tracking,
        // whose answers the first takes.
        return Verdict::Drop(Counter::GuardDroppedForwarded);
    }
    if facts.is_ethernet() { Verdict::Turn } else { Verdict::Drop(Counter::GuardDroppedNoEthernet) }
}

/// DNS is no way round the mesh, as other UDP is none: what the proxy cannot answer passes.
#[inline(always)]
fn asks(facts: &impl Facts) -> Verdict {
    let Some(pod) = facts.pod() else {
        return Verdict::Pass(Counter::GuardReleasing);
    };
    if pod.captures_dns != 1 {
        return Verdict::Pass(Counter::GuardOtherProtocol);
    }
    if facts.to_link_local() {
        return Verdict::Pass(Counter::GuardLinkLocal);
    }
    if excludes_outbound(pod, |list| facts.is_excluded(list)) {
        return Verdict::Pass(Counter::GuardExcluded);
    }
    if pod.open_when_agent_down == 1 && !facts.answering() {
        return Verdict::Pass(Counter::GuardOpenAgentDown);
    }
    if !facts.is_ours() || facts.is_forwarded() {
        return Verdict::Pass(Counter::GuardForwardedQuery);
    }
    // Also where nobody answers and the pod is closed: then `steer` refuses, if `connect` has not done so before.
    if facts.is_ethernet() { Verdict::Turn } else { Verdict::Pass(Counter::GuardStuckQuery) }
}

#[inline(always)]
fn unreadable(facts: &impl Facts) -> Verdict {
    match facts.pod() {
        None => Verdict::Pass(Counter::GuardReleasing),
        Some(pod) if excludes_outbound(pod, |list| facts.is_excluded(list)) => {
            Verdict::Pass(Counter::GuardExcluded)
        }
        Some(PodEntry { open_when_agent_down: 1, .. }) => Verdict::Pass(Counter::GuardPassedUnreadable),
        Some(_) => Verdict::Drop(Counter::GuardDroppedUnreadable),
    }
}

#[cfg(test)]
mod tests;
