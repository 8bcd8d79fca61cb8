//! Explains one connection: would it be captured, and where would it go? Every steering step names the live map
//! entry, rule or route that decides it, and the decision is that of the eBPF programs: the same code.

mod exclusion;
mod kernel;
mod question;
mod routing;
mod steering;

use std::sync::Arc;

use abi::Counter;
use model::{ExistingConnections, Pod, Snapshot, canonical};
use route::SameNode;

use self::steering::steer;
pub use self::{
    kernel::Kernel,
    question::{Destination, find_destination, find_pod},
};
use crate::{
    api::{Verdict, Why, WhyStep},
    pods::Phase,
};

/// All that the explanation rests on.
#[derive(Debug)]
pub struct Facts<'a> {
    pub node: &'a str,
    pub snapshot: &'a Snapshot,
    pub same_node: SameNode,
    pub pod: &'a Arc<Pod>,
    pub destination: Destination,
    pub phase: Option<&'a Phase>,
    pub kernel: Option<Kernel>,
}

/// Collects steps.
struct Story(Vec<WhyStep>);

impl Story {
    fn tell(&mut self, stage: &str, decision: impl Into<String>, evidence: impl Into<String>) {
        self.0.push(WhyStep {
            stage: stage.to_owned(),
            decision: decision.into(),
            evidence: evidence.into(),
        });
    }
}

pub fn explain(facts: &Facts<'_>) -> Why {
    let Facts { pod, destination, .. } = facts;
    let Destination { addr, asked } = destination;
    let addr = canonical(*addr);
    let mut story = Story(Vec::new());
    story.tell("enrol", enrolment(facts), pod.enrolment.to_string());
    if let Some(asked) = asked {
        story.tell("dns", asked.answer.clone(), asked.because.clone());
    }
    let (verdict, summary) = match &facts.kernel {
        None => (Verdict::Direct, "goes direct: nothing was done to this pod".to_owned()),
        Some(kernel) => {
            tell_of_older(&mut story, facts, kernel);
            tell_of_stops(&mut story, kernel);
            steer(&mut story, facts, kernel, addr)
        }
    };
    let name = asked.as_ref().map(|asked| asked.name.clone());
    Why { pod: pod.name.clone(), name, destination: addr, verdict, summary, steps: story.0 }
}

fn enrolment(facts: &Facts<'_>) -> String {
    match facts.phase {
        Some(Phase::Captured) => "captured".to_owned(),
        Some(Phase::Releasing) => "being released".to_owned(),
        Some(Phase::Failed { reason, .. }) => format!("should be captured, but: {reason}"),
        None if facts.pod.is_enrolled() => "to be captured".to_owned(),
        None => "not captured".to_owned(),
    }
}

/// Not of the connection asked about, but of those that the answer does not hold for.
fn tell_of_older(story: &mut Story, facts: &Facts<'_>, kernel: &Kernel) {
    let Kernel { entry: Some(_), older: Some(older @ 1..), .. } = kernel else {
        return;
    };
    let (connections, are) = if *older == 1 { ("connection", "is") } else { ("connections", "are") };
    let decision = format!("{older} {connections} {are} older and not captured");
    let evidence = match facts.pod.existing_connections {
        ExistingConnections::Keep => {
            "kept until the end; millstream.dev/existing-connections: reset ends them"
        }
        ExistingConnections::Reset => "not reset: dialled while no agent ran, or the agent's log says why",
    };
    story.tell("older", decision, evidence);
}

/// Nor of the connection asked about, perhaps: but who asks why something does not get out looks for these.
fn tell_of_stops(story: &mut Story, kernel: &Kernel) {
    for (counter, count) in &kernel.stops {
        let decision = format!("{} ({count} so far)", counter.name());
        story.tell(counter.program(), decision, cause(*counter));
    }
}

/// Who does that, and what to do about it.
fn cause(counter: Counter) -> &'static str {
    match counter {
        Counter::GuardDroppedForeign | Counter::GuardDroppedForwarded => {
            "a container or VM inside the pod; label the pod istio.io/dataplane-mode=none if it needs them"
        }
        Counter::ConnectRefusedNotRegistered => {
            "a ServiceEntry makes an address known; the policy is millstream.dev/outbound-traffic-policy"
        }
        Counter::GuardDroppedAgentDown => "sent past the connect hook while no agent answered",
        Counter::GuardDroppedNoEthernet => "a tunnel of the pod; exclude what goes through it",
        Counter::GuardDroppedUnreadable => "a fragment, or more IPv6 headers than anybody needs",
        Counter::BackstopDropped => "a packet socket from before capture",
        Counter::SockoptRefused => "a program that asks for packets past the guard",
        _ => "",
    }
}
