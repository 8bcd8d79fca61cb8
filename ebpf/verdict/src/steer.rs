//! `sk_lookup`: which socket takes a SYN (or, with SYN cookies, the ACK that stands for it)?

use abi::{Counter, ExclusionList, PodEntry};

use crate::exclusion::excludes_inbound;

/// What the program can find out. Each is asked at most once, and only when it matters.
pub trait Facts {
    /// The entry of this network namespace; none while the pod is being released.
    fn pod(&self) -> Option<PodEntry>;
    fn to_loopback(&self) -> bool;
    fn to_own_address(&self) -> bool;
    /// The client is the pod itself.
    fn by_itself(&self) -> bool;
    /// The packet came in over `lo`: turned by our route, or sent by the proxy's delivery socket.
    fn over_lo(&self) -> bool;
    /// The client or the pod's port is on that list, which is not empty.
    fn is_excluded(&self, by: ExclusionList) -> bool;
    /// The kubelet dials; see [`probe`](crate::probe).
    fn is_probe(&self) -> bool;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The ordinary look-up goes on.
    Pass(Counter),
    /// To the pod's outbound listener.
    Outbound,
    /// To the pod's inbound listener.
    Inbound,
}

/// What to do when the listener that should take the connection is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphan {
    /// The ordinary look-up goes on.
    Pass,
    /// Dropped; the kernel answers RST, but for an IPv4 address that is not its own: that client sends its SYN again.
    Refuse,
}

#[inline(always)]
pub fn decide(facts: &impl Facts) -> Verdict {
    if facts.to_loopback() {
        return Verdict::Pass(Counter::SteerOwnAddress);
    }
    if facts.over_lo() {
        // Only what our route turned comes over lo for an address that is not the pod's.
        return if facts.to_own_address() {
            Verdict::Pass(Counter::SteerDelivery)
        } else {
            Verdict::Outbound
        };
    }
    if facts.by_itself() {
        // The kernel reports the interface that owns the address, not lo, when a pod calls itself. What else the
        // pod sends comes in again only because the guard turned it.
        return if facts.to_own_address() {
            Verdict::Pass(Counter::SteerOwnAddress)
        } else {
            Verdict::Outbound
        };
    }
    let Some(pod) = facts.pod() else {
        return Verdict::Pass(Counter::SteerReleasing);
    };
    if excludes_inbound(pod, |list| facts.is_excluded(list)) {
        return Verdict::Pass(Counter::SteerExcluded);
    }
    // Before the agent is asked for, as above: a pod is not restarted because the agent is.
    if facts.is_probe() {
        return Verdict::Pass(Counter::SteerProbe);
    }
    Verdict::Inbound
}

/// A datagram to port 53: whether the proxy takes it. What is for somebody else, and yet comes in here, was turned by the
/// guard.
#[inline(always)]
pub fn is_query(to_loopback: bool, to_own_address: bool) -> bool {
    !to_loopback && !to_own_address
}

/// A pod that is being released (`None`) has no listener to lose: what still comes was captured, and refused.
#[inline(always)]
pub fn orphan(pod: Option<PodEntry>) -> Orphan {
    match pod {
        Some(PodEntry { open_when_agent_down: 1, .. }) => Orphan::Pass,
        Some(_) | None => Orphan::Refuse,
    }
}

#[cfg(test)]
mod tests;
