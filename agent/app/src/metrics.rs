//! What Prometheus is told when it asks. Each answer is made from what is true at the moment: nothing is kept between
//! two of them, so a pod that is gone leaves no series behind.

use std::{collections::BTreeMap, fmt};

use model::ObjectName;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};
use proxy::{QueryOutcome, Reason};

use crate::{answers::word, api::PodState, pods::Cause};

mod serve;

pub(crate) use self::serve::serve;

/// Before each name.
const PREFIX: &str = "millstream";

/// What is told.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) version: String,
    pub(crate) ready: bool,
    /// Of the pods of the node.
    pub(crate) states: Vec<PodState>,
    pub(crate) uncaptured: Vec<(ObjectName, Cause)>,
    /// Of the connections through the proxy that are open.
    pub(crate) open: usize,
    /// How many have ended since the agent's start, and how.
    pub(crate) ended: Vec<(Reason, u64)>,
    /// What became of the DNS queries of captured pods.
    pub(crate) queries: Vec<(QueryOutcome, u64)>,
    /// Objects of the source that were not taken.
    pub(crate) refusals: usize,
    /// Watches of the API server that do not stand.
    pub(crate) troubles: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPod {
    namespace: String,
    pod: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfWatch {
    watch: String,
}

/// In the text format of OpenMetrics 1.0.
pub(crate) fn page(facts: &Facts) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    let Facts { version, ready, states, uncaptured, open, ended, queries, refusals, troubles } = facts;
    registry.register("build", "The agent", Info::new([("version", version.clone())]));
    registry.register(
        "ready",
        "1 once the first snapshot is in force and every pod that it wants captured was tried",
        gauge(usize::from(*ready)),
    );

    let pods = Family::<OfState, Gauge>::default();
    for (state, count) in count(states) {
        pods.get_or_create(&OfState { state }).set(whole(count));
    }
    registry.register("pods", "Pods of the node, by what became of them", pods);

    let why_not = Family::<OfPod, Gauge>::default();
    for (name, cause) in uncaptured {
        let (namespace, pod) = (name.namespace.to_string(), name.name.to_string());
        why_not.get_or_create(&OfPod { namespace, pod, reason: word(cause) }).set(1);
    }
    registry.register(
        "uncaptured_pods",
        "1 for each pod of the node that is not captured though a label asks for it",
        why_not,
    );

    registry.register("connections", "Connections through the proxy that are open", gauge(*open));
    let ends = Family::<OfReason, Counter>::default();
    for (reason, connections) in ended {
        ends.get_or_create(&OfReason { reason: reason.label() }).inc_by(*connections);
    }
    registry.register("connections_ended", "Connections through the proxy that have ended, by how", ends);

    let outcomes = Family::<OfOutcome, Counter>::default();
    for (outcome, queries) in queries {
        outcomes.get_or_create(&OfOutcome { outcome: outcome.label() }).inc_by(*queries);
    }
    registry.register("dns_queries", "DNS queries of captured pods, by what became of them", outcomes);

    registry.register(
        "source_refusals",
        "Objects of the source that were not taken; their last good version is in force",
        gauge(*refusals),
    );
    let fallen = Family::<OfWatch, Gauge>::default();
    for watch in troubles {
        fallen.get_or_create(&OfWatch { watch: watch.clone() }).set(1);
    }
    registry.register("source_troubles", "1 for each watch of the API server that does not stand", fallen);

    let mut page = String::new();
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// A state that no pod is in is told too, so that an alert on it has something to compare.
fn count(states: &[PodState]) -> BTreeMap<String, usize> {
    let of = |state| states.iter().filter(|found| **found == state).count();
    PodState::ALL.iter().map(|&state| (word(&state), of(state))).collect()
}

fn gauge(value: usize) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(whole(value));
    gauge
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
