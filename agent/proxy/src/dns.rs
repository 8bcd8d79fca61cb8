//! The DNS queries of captured pods: those for names that the mesh knows are answered here, all others go on as they
//! are to the resolver that the pod asked, and its replies come back as they are.
//!
//! ```text
//! UDP  query → decide ─┬─ answer ──────────────────────────────┬─► reply, from the address that was asked
//!                      └─ forward, from the pod's namespace ───┘
//! TCP  accept → original_dst → queries, in turn → the same → replies
//! ```
//!
//! Nothing here waits for the control plane: the snapshot of the moment answers, however old it is.

use std::net::SocketAddr;

use ::dns::{AnswerConfig, Client, Decision, Failure, Outcome, Transport};
use model::PodDns;

use crate::{pods::OpenPod, shared::Shared};

mod datagram;
mod forward;
pub(crate) mod over_tcp;
pub(crate) mod over_udp;
mod reply;
mod socket;

pub(crate) use self::socket::Sockets;

/// RFC 1035, 4.2.
pub(crate) const PORT: u16 = 53;

/// What a pod asks, and whom.
#[derive(Debug)]
struct Query {
    message: Vec<u8>,
    client: SocketAddr,
    resolver: SocketAddr,
}

/// Whether what the pod asks on port 53 is meant for us.
pub(crate) fn is_captured(shared: &Shared, pod: &OpenPod) -> bool {
    shared.snapshot().pod(&pod.uid).is_some_and(|pod| pod.dns.captured)
}

/// What is to be done about a query.
#[derive(Debug)]
enum Step {
    Answer(Vec<u8>),
    Forward,
    Drop,
}

/// As the mesh is at this moment. A pod that is not known any more appends nothing to a name.
fn decide(shared: &Shared, pod: &OpenPod, query: &[u8], transport: Transport) -> Step {
    let snapshot = shared.snapshot();
    let nothing = PodDns::default();
    let known = snapshot.pod(&pod.uid).map_or(&nothing, |pod| &pod.dns);
    let client = Client { namespace: &pod.name.namespace, search: &known.search };
    let config = AnswerConfig { ttl: shared.config.dns_ttl };
    let decision = ::dns::decide(&snapshot, &client, &config, query, transport, |n| fastrand::usize(..n));
    tell(pod, query, &decision);
    match decision {
        Decision::Answer { message, .. } => Step::Answer(message),
        Decision::Forward { .. } => Step::Forward,
        Decision::Drop { .. } => Step::Drop,
    }
}

/// One line a query, for who asks for it: `millstream log dns=debug`.
fn tell(pod: &OpenPod, query: &[u8], decision: &Decision<'_>) {
    if !tracing::enabled!(target: "dns", tracing::Level::DEBUG) {
        return;
    }
    let question = ::dns::question(query);
    let result = match decision {
        Decision::Answer { outcome: Outcome::Addresses { count: 0, .. }, .. } => "no records".to_owned(),
        Decision::Answer { outcome: Outcome::Addresses { .. }, .. } => "success".to_owned(),
        Decision::Answer { outcome: Outcome::Failed(failure), .. } => format!("failed ({failure:?})"),
        Decision::Forward { because } => format!("forwarded ({because:?})"),
        Decision::Drop { because } => format!("dropped ({because:?})"),
    };
    tracing::debug!(target: "dns", { src.workload = %pod.name, ?question, result }, "query");
}

/// `SERVFAIL`: the resolver that was asked has not replied.
fn failed(query: &[u8]) -> Option<Vec<u8>> {
    ::dns::failure(query, Failure::NoAnswer)
}
