//! Which endpoint serves the connection, and which way leads there.

use std::{net::IpAddr, sync::Arc, time::Instant};

use model::{Affinity, EndpointAddr, OriginalDst, OutboundPolicy, Pod, PodUid, Service, Snapshot};
use resolver::Family;
use route::{Candidates, Client, Journey, Resolution, Via, Way, select, way};

use crate::{
    affinity::Key,
    connection::{Addressed, Connection},
    connections::Stage,
    failure::Failure,
    lock::lock,
    names::Named,
    pods::{OpenPod, Presence},
};

/// Where a connection goes.
#[derive(Debug)]
pub(crate) enum Routed {
    Endpoint(EndpointAddr),
    /// One of the addresses that these have.
    Names(Named),
}

/// How the endpoint is reached.
#[derive(Debug)]
pub(crate) enum Path {
    /// Inside the namespace of a pod of this node. `presence` is `None` for the client's own pod, which it is
    /// in already.
    Deliver { to: Arc<OpenPod>, presence: Option<Presence> },
    /// From the namespace of the client, over its interface; also to a pod of this node, if it is to take the wire.
    Forward,
}

pub(crate) fn resolve(addressed: &Addressed) -> Result<Routed, Failure> {
    let connection = &addressed.connection;
    let (shared, live) = (&connection.shared, &connection.live);
    live.reached(Stage::Resolve);
    let snapshot = shared.snapshot();

    let client = client(connection, &snapshot);
    let (endpoint, service) = match route::resolve(&snapshot, client, addressed.original_dst) {
        Resolution::Service { service, port, candidates } => {
            live.reached(Stage::Select);
            let endpoint = choose(connection, addressed.client_addr().ip(), service, port, &candidates);
            (endpoint, Some(service.name.clone()))
        }
        Resolution::Pod { pod: _, endpoint, service } => (endpoint, service.cloned()),
        Resolution::Passthrough { endpoint, service } => (endpoint, service.cloned()),
        Resolution::Names { service, port: _, names } => {
            live.learn(|facts| facts.service = Some(service.name.clone()));
            return Ok(Routed::Names(Named {
                names: names.to_vec(),
                discovery: service.discovery,
                families: families(&connection.pod, addressed.original_dst),
            }));
        }
        Resolution::Refuse { dialled, service, because } => {
            live.learn(|facts| facts.service = service.map(|service| service.name.clone()));
            return Err(Failure::Refused { addr: dialled, because });
        }
    };
    live.learn(|facts| {
        facts.service = service;
        facts.upstream = Some(endpoint);
        facts.upstream_workload = snapshot.pod_by_ip(endpoint.ip()).map(|pod| pod.name.clone());
    });
    Ok(Routed::Endpoint(endpoint))
}

/// Those that the pod has, the one that it dialled first.
fn families(pod: &OpenPod, dialled: OriginalDst) -> Vec<Family> {
    let mut families = vec![Family::of(dialled.ip())];
    for family in pod.addresses.iter().map(|ip| Family::of(*ip)) {
        if !families.contains(&family) {
            families.push(family);
        }
    }
    families
}

/// The pod that dialled. One that the snapshot no longer has is being released: what it dials until then passes, as it
/// will when nothing of ours is left in it.
fn client<'a>(connection: &'a Connection, snapshot: &'a Snapshot) -> Client<'a> {
    let Connection { shared, pod, .. } = connection;
    match snapshot.pod(&pod.uid) {
        Some(known) => Client::pod(known, &shared.node),
        None => Client {
            node: &shared.node,
            namespace: &pod.name.namespace,
            outbound_policy: OutboundPolicy::AllowAny,
        },
    }
}

fn choose(
    connection: &Connection,
    client: IpAddr,
    service: &Service,
    port: u16,
    candidates: &Candidates<'_>,
) -> EndpointAddr {
    let shared = &connection.shared;
    let load = |endpoint| shared.loads.of(endpoint);
    let random = |n| fastrand::usize(..n);
    match service.affinity {
        Affinity::None => select(candidates, None, load, random).addr,
        Affinity::ClientIp(timeout) => {
            let key = Key { client, service: service.name.clone(), port };
            let now = Instant::now();
            // Locked over the choice, so that two connections at once do not choose twice.
            let mut affinities = lock(&shared.affinities);
            let sticky = affinities.recall(&key, timeout, now);
            let endpoint = select(candidates, sticky, load, random).addr;
            affinities.remember(key, endpoint, now);
            endpoint
        }
    }
}

/// Which way leads to the endpoint.
pub(crate) fn path(addressed: &Addressed, endpoint: EndpointAddr) -> (Path, Via) {
    let Connection { shared, pod: own, .. } = &addressed.connection;
    let snapshot = shared.snapshot();
    let journey = Journey { client: &own.uid, dialled: addressed.original_dst, endpoint };
    let is_open = |pod: &Pod| shared.pods.get(&pod.uid).is_some();
    let way = way(&snapshot, shared.config.same_node, journey, is_open);
    match &way {
        Way::Direct { to, .. } => match enter(&addressed.connection, &to.uid) {
            Some(path) => (path, Via::Direct),
            None => (Path::Forward, Via::Forward),
        },
        Way::Wire { .. } | Way::Forward { .. } => (Path::Forward, way.via()),
    }
}

/// Into the namespace of a pod; `None` if it was released just now.
fn enter(connection: &Connection, uid: &PodUid) -> Option<Path> {
    let Connection { shared, pod: own, live, .. } = connection;
    if *uid == own.uid {
        return Some(Path::Deliver { to: Arc::clone(own), presence: None });
    }
    let to = shared.pods.get(uid)?;
    let presence = to.enter();
    live.learn(|facts| facts.delivered_in.push(to.uid.clone()));
    // Asked only now: whoever closes the pod first sets this and then looks for connections to end.
    if !to.is_captured() {
        live.learn(|facts| facts.delivered_in.retain(|uid| *uid != to.uid));
        return None;
    }
    Some(Path::Deliver { to, presence: Some(presence) })
}
