//! connect → turn → steer, decided by the programs' own code from what the kernel holds.

use std::{net::SocketAddr, time::Duration};

use abi::{Counter, ExclusionList, PodEntry, Slot};
use capture::{
    Family, Life,
    collision::Rule,
    maps::{list_of, pod_entry},
};
use route::Refusal;
use verdict::connect;

use super::{Facts, Kernel, Story, exclusion, routing::proxied};
use crate::api::Verdict;

/// The kernel's facts about one `connect(2)`, for the programs' own decision.
struct Call<'a> {
    kernel: &'a Kernel,
    destination: SocketAddr,
}

impl Call<'_> {
    fn octets(&self) -> [u8; 16] {
        match self.destination.ip() {
            std::net::IpAddr::V4(v4) => abi::mapped(v4.octets()),
            std::net::IpAddr::V6(v6) => v6.octets(),
        }
    }

    fn slot(&self) -> Slot {
        if self.destination.is_ipv4() { Slot::OutboundV4 } else { Slot::OutboundV6 }
    }

    /// How long the agent has been stuck, if it is there at all.
    fn stuck(&self) -> Option<Duration> {
        match self.kernel.life {
            Life::Silent(since) if self.kernel.listeners.contains(&self.slot()) => Some(since),
            _ => None,
        }
    }

    /// Nothing of its family can be turned in this pod.
    fn is_off_lo(&self) -> bool {
        self.kernel.actual.not_on_lo.contains(&Family::of(self.destination.ip()))
    }

    /// By what the programs know that no agent would answer.
    fn absence(&self) -> String {
        let slot = self.slot().name();
        match self.stuck() {
            Some(since) => {
                format!("LISTENERS[{slot}] open, but PULSE ran out {} s ago: agent stuck", since.as_secs())
            }
            None if self.is_off_lo() => format!("LISTENERS[{slot}] empty: the pod's lo has no IPv6"),
            None => format!("LISTENERS[{slot}] empty: no agent"),
        }
    }
}

impl connect::Facts for Call<'_> {
    fn pod(&self) -> Option<PodEntry> {
        self.kernel.entry.as_ref().map(pod_entry)
    }

    fn to_loopback(&self) -> bool {
        verdict::is_loopback(&self.octets())
    }

    fn to_own_address(&self) -> bool {
        self.kernel.actual.own.contains(&self.destination.ip())
    }

    fn to_link_local(&self) -> bool {
        verdict::is_link_local_v6(&self.octets())
    }

    fn by_agent(&self) -> bool {
        false
    }

    fn is_excluded(&self, by: ExclusionList) -> bool {
        exclusion::entry(self.kernel, list_of(by), self.destination).is_some()
    }

    fn to_dns_port(&self) -> bool {
        self.destination.port() == abi::DNS_PORT
    }

    fn is_unregistered(&self) -> bool {
        self.kernel.registry.is_unregistered(self.destination)
    }

    fn listening(&self) -> bool {
        self.kernel.life == Life::Alive && self.kernel.listeners.contains(&self.slot())
    }
}

/// connect → turn → steer, as the kernel would; then what the proxy would do.
pub(super) fn steer(
    story: &mut Story,
    facts: &Facts<'_>,
    kernel: &Kernel,
    destination: SocketAddr,
) -> (Verdict, String) {
    let Kernel { cookie, entry, steering, .. } = kernel;
    let call = Call { kernel, destination };
    let entry = entry
        .as_ref()
        .map_or("no entry".to_owned(), |terms| format!("when agent down: {}", terms.when_agent_down));
    let pods = format!("PODS[{cookie:#x}] {entry}");
    match connect::decide(&call) {
        connect::Verdict::NotCaptured => {
            story.tell("connect", "left alone", pods);
            (Verdict::Direct, "goes direct: nothing new is captured".to_owned())
        }
        connect::Verdict::Pass(counter) => {
            story.tell("connect", counter.name(), pass_evidence(&call, &pods, counter));
            (Verdict::Direct, format!("goes direct: {}", counter.name()))
        }
        connect::Verdict::Unmark(counter) => {
            let (evidence, origin) = exclusion::evidence(facts, kernel, destination);
            story.tell("connect", counter.name(), evidence);
            (Verdict::Direct, format!("goes direct: excluded by {origin}"))
        }
        connect::Verdict::Refuse(Counter::ConnectRefusedNotRegistered) => {
            let ip = destination.ip();
            story.tell("connect", "refused with ECONNREFUSED", format!("{pods}; REGISTRY has no {ip}"));
            let because = Refusal::NotRegistered;
            (Verdict::Refused, format!("is refused: {because}"))
        }
        connect::Verdict::Refuse(_) => {
            story.tell("connect", "refused with ECONNREFUSED", format!("{pods}; {}", call.absence()));
            let because = if call.is_off_lo() {
                "the pod's lo has no IPv6, so the proxy cannot take it (sysctl net.ipv6.conf.lo.disable_ipv6)"
            } else if call.stuck().is_some() {
                "the agent is stuck, and the pod is closed meanwhile"
            } else {
                "no agent is running, and the pod is closed meanwhile"
            };
            (Verdict::Refused, format!("is refused: {because}"))
        }
        connect::Verdict::Capture => {
            let slot = call.slot().name();
            let mark = steering.marks.captured;
            story.tell("connect", format!("marked {mark:#x}"), format!("{pods}; LISTENERS[{slot}] open"));
            if let Some(gap) = turn(story, kernel, destination) {
                return stray(story, kernel, &gap);
            }
            if !kernel.steered {
                story.tell("steer", "nobody takes it", "no sk_lookup link is pinned for the namespace");
                return (Verdict::Refused, "lost: the pod's sk_lookup program is gone".to_owned());
            }
            story.tell("steer", "to the outbound listener", format!("sk_lookup link pinned; slot {slot}"));
            proxied(story, facts, destination)
        }
    }
}

fn pass_evidence(call: &Call<'_>, pods: &str, counter: Counter) -> String {
    let Call { kernel, destination } = call;
    match counter {
        Counter::ConnectOwnAddress => format!("ADDRESSES[{:#x}, {}]", kernel.cookie, destination.ip()),
        Counter::ConnectOpenAgentDown => format!("{pods}; {}", call.absence()),
        _ => format!("{} is not steered", destination.ip()),
    }
}

/// The rule and the route that bring the marked SYN back over lo; what is missing, if anything.
fn turn(story: &mut Story, kernel: &Kernel, destination: SocketAddr) -> Option<String> {
    let Kernel { actual, steering, .. } = kernel;
    let family = Family::of(destination.ip());
    let mark = steering.marks.captured;
    let ours = |rule: &&Rule| rule.family == family && rule.is_ours(steering);
    let found = actual.neighbours.rules.iter().find(ours);
    let priority = found.map_or(steering.rule_priority, |rule| rule.priority);
    let rule = format!("rule {priority}: fwmark {mark:#x}/{mark:#x} lookup {}", steering.table);
    if !actual.rules.contains(&family) {
        let Some(_) = found else {
            story.tell("turn", "not turned", format!("missing {rule}"));
            return Some("its namespace lacks the rule; the agent puts it back".to_owned());
        };
        story.tell("turn", "not turned", format!("another rule comes before {rule}"));
        return Some("a rule of its own comes first; see `millstream status`".to_owned());
    }
    match actual.routes.get(&family) {
        Some(source) => {
            let source = source.map_or(String::new(), |ip| format!(" src {ip}"));
            story.tell("turn", "over lo", format!("{rule}; local default dev lo{source}"));
            None
        }
        None => {
            story.tell("turn", "not turned", format!("{rule}, but table {} is empty", steering.table));
            Some("its namespace lacks the route".to_owned())
        }
    }
}

/// A marked packet that no rule turns is about to leave by an interface.
fn stray(story: &mut Story, kernel: &Kernel, gap: &str) -> (Verdict, String) {
    if kernel.guarded {
        story.tell("guard", "does not leave", "every interface has a guard");
        return (Verdict::Refused, format!("is lost: {gap}"));
    }
    story.tell("guard", "leaves", "not every interface has a guard");
    (Verdict::Direct, format!("gets round the proxy: {gap}"))
}
