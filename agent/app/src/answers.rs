//! PURE. Answers from what is known: the same functions serve a running agent and its absence.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use abi::Counter;
use capture::maps::Stops;
use model::{
    Affinity, Allocation, Endpoint, EndpointState, Enrolment, Exclusion, ObjectName, Origin, Pod, PodUid,
    Service, ServicePort, Snapshot, Uncaptured,
};
use proxy::Refused;

use crate::{
    api::{
        AllocationRow, ConnectionRow, EndpointRow, ExclusionRow, PodCounts, PodRow, PodState, ServiceRow,
        StopRow,
    },
    pods::{Cause, Phase, Phases},
};

mod listeners;

pub use self::listeners::listeners;

/// How long a want of room is a problem after it was felt last.
const LATELY: Duration = Duration::from_secs(300);

/// Of a pod that is being deleted, and not captured any more.
const TERMINATING: &str = "the pod is being deleted";

/// The pods of a node, in name order.
pub fn pods(
    snapshot: &Snapshot,
    node: &str,
    phases: &Phases,
    connections: impl Fn(&PodUid) -> usize,
) -> Vec<PodRow> {
    let on_node = snapshot.pods_on(node).into_iter();
    let mut rows: Vec<PodRow> = on_node.map(|pod| pod_row(pod, phases.get(&pod.uid), &connections)).collect();
    rows.extend(vanished(snapshot, phases, &connections));
    rows
}

/// Adds what takes a look into each pod.
pub fn with_older(mut rows: Vec<PodRow>, older: &BTreeMap<PodUid, usize>) -> Vec<PodRow> {
    for row in rows.iter_mut().filter(|row| row.state == PodState::Captured) {
        row.older_connections = older.get(&PodUid::new(&row.uid)).copied();
    }
    rows
}

/// The same.
pub fn with_collisions(mut rows: Vec<PodRow>, collisions: &BTreeMap<PodUid, Vec<String>>) -> Vec<PodRow> {
    for row in rows.iter_mut().filter(|row| row.state == PodState::Captured) {
        row.collisions = collisions.get(&PodUid::new(&row.uid)).cloned().unwrap_or_default();
    }
    rows
}

/// Adds what was reset for want of room.
pub fn with_refused(mut rows: Vec<PodRow>, refused: &[Refused]) -> Vec<PodRow> {
    for row in &mut rows {
        let of_pod = refused.iter().find(|refused| refused.pod_uid.as_str() == row.uid);
        row.refused_connections = of_pod.map_or(0, total);
    }
    rows
}

/// The pods that lack room now or did lately, one sentence each.
pub fn refusals(refused: &[Refused]) -> Vec<String> {
    let lately = refused.iter().filter(|refused| refused.last.1 <= LATELY);
    lately
        .map(|refused| {
            let connections = total(refused);
            let plural = if connections == 1 { " was" } else { "s were" };
            let Refused { pod, last: (because, _), .. } = refused;
            format!("{connections} connection{plural} reset for want of room in pod {pod}, the last because {because}")
        })
        .collect()
}

/// Adds what the programs count.
pub fn with_stopped(mut rows: Vec<PodRow>, stopped: &BTreeMap<PodUid, Stops>) -> Vec<PodRow> {
    for row in &mut rows {
        let stops = stopped.get(&PodUid::new(&row.uid)).into_iter().flatten();
        row.stopped = stops.map(|(counter, count)| stop(*counter, *count)).collect();
    }
    rows
}

fn stop(counter: Counter, count: u64) -> StopRow {
    StopRow { program: counter.program().to_owned(), outcome: counter.name().to_owned(), count }
}

/// Pods that are not captured though they should be, and those that are, but have something that collides with it.
pub fn problems(rows: &[PodRow]) -> Vec<String> {
    let of = |row: &PodRow| -> Vec<String> {
        let pod = format!("pod {}/{}", row.namespace, row.name);
        match row.state {
            PodState::Failed => vec![format!("{pod} is not captured: {}", row.because)],
            _ => row.collisions.iter().map(|collision| format!("{pod}: {collision}")).collect(),
        }
    };
    rows.iter().flat_map(of).collect()
}

/// Pods that no agent can capture though a label asks for it, and why.
pub fn uncapturable(snapshot: &Snapshot, node: &str) -> Vec<String> {
    let sentence = |pod: &Arc<Pod>| in_vain(pod).map(|why| format!("pod {}: {why}", pod.name));
    snapshot.pods_on(node).into_iter().filter_map(sentence).collect()
}

fn in_vain(pod: &Pod) -> Option<&Uncaptured> {
    match &pod.enrolment {
        Enrolment::NotEnrolled(why @ Uncaptured::HostNetwork { asked_by: Some(_) }) => Some(why),
        Enrolment::NotEnrolled(_) | Enrolment::Enrolled(_) => None,
    }
}

/// Pods that are not captured though a label asks for it, now or ever.
pub fn uncaptured<'a>(snapshot: &'a Snapshot, node: &str, phases: &Phases) -> Vec<(&'a ObjectName, Cause)> {
    let cause = |pod: &Pod| match phases.get(&pod.uid) {
        Some(Phase::Failed { cause, .. }) => Some(*cause),
        _ => in_vain(pod).map(|_| Cause::HostNetwork),
    };
    snapshot.pods_on(node).into_iter().filter_map(|pod| Some((&pod.name, cause(pod)?))).collect()
}

pub fn count(rows: &[PodRow]) -> PodCounts {
    let of = |state| rows.iter().filter(|row| row.state == state).count();
    PodCounts {
        on_node: rows.len(),
        captured: of(PodState::Captured),
        releasing: of(PodState::Releasing),
        failed: of(PodState::Failed) + of(PodState::Pending),
    }
}

pub fn services(snapshot: &Snapshot) -> Vec<ServiceRow> {
    let services = snapshot.services();
    services.iter().flat_map(|service| service_rows(snapshot, service)).collect()
}

pub fn allocations(snapshot: &Snapshot) -> Vec<AllocationRow> {
    let row = |allocation: &Allocation| AllocationRow {
        namespace: allocation.host.namespace.to_string(),
        host: allocation.host.name.to_string(),
        addresses: allocation.addresses.clone(),
        origin: allocation.origin,
        freed: allocation.freed.as_deref().map(str::to_owned),
    };
    snapshot.allocations().iter().map(row).collect()
}

pub fn connections(rows: Vec<proxy::ConnectionRow>) -> Vec<ConnectionRow> {
    rows.into_iter().map(connection).collect()
}

fn total(refused: &Refused) -> u64 {
    refused.connections.iter().map(|(_, count)| count).sum()
}

fn pod_row(pod: &Pod, phase: Option<&Phase>, connections: impl Fn(&PodUid) -> usize) -> PodRow {
    let enrolment = pod.enrolment.to_string();
    let (state, because) = match phase {
        Some(Phase::Captured) => (PodState::Captured, enrolment),
        Some(Phase::Releasing) => (PodState::Releasing, enrolment),
        Some(Phase::Failed { reason, .. }) => (PodState::Failed, reason.clone()),
        None if pod.is_enrolled() && pod.terminating => (PodState::NotEnrolled, TERMINATING.to_owned()),
        None if pod.is_enrolled() => (PodState::Pending, enrolment),
        None => (PodState::NotEnrolled, enrolment),
    };
    PodRow {
        namespace: pod.name.namespace.to_string(),
        name: pod.name.name.to_string(),
        uid: pod.uid.to_string(),
        ips: pod.ips.clone(),
        state,
        connections: connections(&pod.uid),
        stopped: Vec::new(),
        older_connections: None,
        refused_connections: 0,
        when_agent_down: pod.when_agent_down.to_string(),
        exclusions: pod.exclusions.iter().map(exclusion).collect(),
        refused_exclusions: pod.refused_exclusions.clone(),
        because,
        collisions: Vec::new(),
    }
}

fn exclusion((exclusion, origin): (Exclusion, Origin)) -> ExclusionRow {
    let Exclusion { list, what } = exclusion;
    ExclusionRow { list, what: what.to_string(), origin }
}

/// Pods that left the snapshot while their connections go on.
fn vanished<'a>(
    snapshot: &'a Snapshot,
    phases: &'a Phases,
    connections: &'a impl Fn(&PodUid) -> usize,
) -> impl Iterator<Item = PodRow> + 'a {
    phases.iter().filter(|(uid, _)| snapshot.pod(uid).is_none()).map(|(uid, phase)| PodRow {
        namespace: "?".to_owned(),
        name: "?".to_owned(),
        uid: uid.to_string(),
        ips: Vec::new(),
        state: match phase {
            Phase::Captured => PodState::Captured,
            Phase::Releasing => PodState::Releasing,
            Phase::Failed { .. } => PodState::Failed,
        },
        connections: connections(uid),
        stopped: Vec::new(),
        older_connections: None,
        refused_connections: 0,
        when_agent_down: String::new(),
        exclusions: Vec::new(),
        refused_exclusions: Vec::new(),
        because: "deleted".to_owned(),
        collisions: Vec::new(),
    })
}

fn service_rows(snapshot: &Snapshot, service: &Service) -> Vec<ServiceRow> {
    let mut policy = Vec::new();
    if let Affinity::ClientIp(timeout) = service.affinity {
        policy.push(format!("ClientIP {} s", timeout.as_secs()));
    }
    if service.node_local {
        policy.push("internal: Local".to_owned());
    }
    let row = |port: Option<&ServicePort>| ServiceRow {
        namespace: service.name.namespace.to_string(),
        name: service.name.name.to_string(),
        host: service.host.to_string(),
        vips: service.vips.clone(),
        allocated: service.allocated.clone(),
        networks: service.networks.clone(),
        port: port.map(|port| port.port),
        port_name: port.map(|port| port.name.to_string()).unwrap_or_default(),
        location: service.location,
        external_name: service.external_name.as_deref().map(str::to_owned),
        policy: policy.clone(),
        endpoints: port
            .map(|port| port.endpoints.iter().map(|e| endpoint_row(snapshot, port, e)).collect())
            .unwrap_or_default(),
        names: port.map(|port| port.names.iter().map(ToString::to_string).collect()).unwrap_or_default(),
    };
    match service.ports.as_slice() {
        [] => vec![row(None)],
        ports => ports.iter().map(|port| row(Some(port))).collect(),
    }
}

fn endpoint_row(snapshot: &Snapshot, port: &ServicePort, endpoint: &Endpoint) -> EndpointRow {
    let state = match endpoint.state {
        EndpointState::Ready => "ready",
        EndpointState::Terminating => "terminating",
        EndpointState::NotReady => "not ready",
    };
    EndpointRow {
        address: endpoint.addr.0,
        weight: port.weights.get(&endpoint.addr).map(|weight| weight.get()),
        state: state.to_owned(),
        pod: endpoint.pod.as_ref().and_then(|uid| snapshot.pod(uid)).map(|pod| pod.name.to_string()),
        node: endpoint.node.as_ref().map(ToString::to_string),
    }
}

fn connection(row: proxy::ConnectionRow) -> ConnectionRow {
    ConnectionRow {
        id: row.id,
        pod: row.pod,
        direction: word(&row.direction),
        stage: word(&row.stage),
        client: row.client.0,
        client_workload: row.client_workload,
        original_dst: row.original_dst.map(|dst| dst.0),
        service: row.service,
        upstream: row.upstream.map(|upstream| upstream.0),
        upstream_workload: row.upstream_workload,
        via: row.via.map(|via| word(&via)),
        bytes_sent: row.bytes_sent,
        bytes_received: row.bytes_received,
        started: row.started,
    }
}

/// The one word by which an enum is serialised.
pub fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(e) => e.to_string(),
    }
}

#[cfg(test)]
mod tests;
