//! Probes: which connections from the node do captured pods take without the proxy?
//!
//! Who dials is known in `connect(2)`, the port it dials from only later, when its SYN is about to leave. So the first
//! hook tells the second, by the socket.

use abi::Prober;

/// What the hook in `connect(2)` can find out.
pub trait Caller {
    /// The caller is in the node's own network namespace.
    fn on_node(&self) -> bool;
    /// The PID of its process, where the hook may ask for it.
    fn thread_group(&self) -> Option<u32>;
    fn cgroup(&self) -> u64;
    /// This is whose connections are probes.
    fn probes(&self, prober: Prober) -> bool;
}

/// What happens to a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its SYN is about to leave.
    Dial,
    /// It is closed; its port is still its own.
    Close,
    Other,
}

/// What the hook on sockets can find out.
pub trait Facts {
    fn event(&self) -> Event;
    /// The socket is in the node's own network namespace.
    fn on_node(&self) -> bool;
    /// [`is_by_prober`] said so of this `connect(2)`.
    fn by_prober(&self) -> bool;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None of our business.
    Leave,
    /// It is a probe from now on, until it is forgotten.
    Note,
    /// It is none, whatever was there before under its addresses and ports.
    Forget,
}

#[inline(always)]
pub fn is_by_prober(caller: &impl Caller) -> bool {
    caller.on_node()
        && (caller.probes(Prober::Anybody)
            || caller.thread_group().is_some_and(|pid| caller.probes(Prober::ThreadGroup(pid)))
            || caller.probes(Prober::Cgroup(caller.cgroup())))
}

/// Somebody else's program may have the kernel not tell us of a close. Who dials next from the same port begins anew
/// nevertheless.
#[inline(always)]
pub fn decide(facts: &impl Facts) -> Verdict {
    match facts.event() {
        Event::Dial if facts.on_node() => {
            if facts.by_prober() {
                Verdict::Note
            } else {
                Verdict::Forget
            }
        }
        Event::Close if facts.on_node() => Verdict::Forget,
        Event::Dial | Event::Close | Event::Other => Verdict::Leave,
    }
}

#[cfg(test)]
mod tests;
