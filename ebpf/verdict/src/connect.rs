//! `connect(2)`: does the caller's new connection go through the proxy? And is there somebody to answer its query?

use abi::{Counter, ExclusionList, PodEntry};

use crate::exclusion::excludes_outbound;

/// What the hook can find out. Each is asked at most once, and only when it matters.
pub trait Facts {
    /// The entry of the caller's network namespace.
    fn pod(&self) -> Option<PodEntry>;
    fn to_loopback(&self) -> bool;
    fn to_own_address(&self) -> bool;
    fn to_link_local(&self) -> bool;
    /// The caller is in a cgroup of the agent.
    fn by_agent(&self) -> bool;
    /// The destination is on that list, which is not empty.
    fn is_excluded(&self, by: ExclusionList) -> bool;
    /// The pod's outbound listener of this family is open, and the agent lives. Of a query: its socket for DNS.
    fn listening(&self) -> bool;
    /// A query over TCP.
    fn to_dns_port(&self) -> bool;
    /// Nobody in the mesh has the destination, as far as the kernel knows.
    fn is_unregistered(&self) -> bool;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The namespace is not captured: not even counted.
    NotCaptured,
    /// Left alone, for the reason counted.
    Pass(Counter),
    /// Left alone, and unmarked: an earlier `connect` of the same socket may have been captured.
    Unmark(Counter),
    /// To be marked, so that the pod's rule turns it over `lo` to the proxy.
    Capture,
    /// `ECONNREFUSED`: nobody would answer, and passing would get round the mesh; or it may not go there.
    Refuse(Counter),
}

#[inline(always)]
pub fn decide(facts: &impl Facts) -> Verdict {
    let Some(pod) = facts.pod() else {
        return Verdict::NotCaptured;
    };
    if facts.to_loopback() {
        return Verdict::Pass(Counter::ConnectLoopback);
    }
    if facts.to_own_address() {
        return Verdict::Pass(Counter::ConnectOwnAddress);
    }
    if facts.to_link_local() {
        return Verdict::Pass(Counter::ConnectLinkLocal);
    }
    if facts.by_agent() {
        return Verdict::Pass(Counter::ConnectAgent);
    }
    // Before the agent is asked for: what does not need it passes without it, closed or open.
    if excludes_outbound(pod, |list| facts.is_excluded(list)) {
        return Verdict::Unmark(Counter::ConnectExcluded);
    }
    if facts.listening() {
        // The proxy decides on queries, which a resolver of nobody's in the mesh may answer.
        let is_query = pod.captures_dns == 1 && facts.to_dns_port();
        return if pod.registry_only == 1 && !is_query && facts.is_unregistered() {
            Verdict::Refuse(Counter::ConnectRefusedNotRegistered)
        } else {
            Verdict::Capture
        };
    }
    if pod.open_when_agent_down == 1 {
        return Verdict::Pass(Counter::ConnectOpenAgentDown);
    }
    Verdict::Refuse(Counter::ConnectRefusedAgentDown)
}

/// A datagram socket that is to ask a resolver: whether that is refused at once. Queries themselves are the guard's
/// business, but what it turns and nobody takes ends over IPv4 without a word: the kernel sends no ICMP message from an
/// address that is not its own.
#[inline(always)]
pub fn refuses_query(facts: &impl Facts) -> bool {
    let Some(pod) = facts.pod() else {
        return false;
    };
    pod.captures_dns == 1
        && pod.open_when_agent_down == 0
        && !facts.to_loopback()
        && !facts.to_own_address()
        && !facts.to_link_local()
        && !facts.by_agent()
        && !excludes_outbound(pod, |list| facts.is_excluded(list))
        && !facts.listening()
}

#[cfg(test)]
mod tests;
