//! The join: what was taken, object by object, becomes the view that everybody reads.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use model::{
    Discovery, Endpoint, EndpointAddr, EndpointState, Enrolment, ObjectName, Pod, PodUid, Service,
    ServicePort, Snapshot, SnapshotBuilder,
};

use super::{
    IndexConfig,
    entry::Entry,
    hosts::{allocation::Allocations, merge::Host},
    namespaces::NamespaceEntry,
    pods::PodEntry,
    policies::Policies,
    services::{KubernetesService, PortEntry},
    slices::{EndpointEntry, PodRef, SliceEntry},
};
use crate::{
    enrolment::{self, PodFacts},
    kind::ObjectKey,
};

mod hosts;

/// The entries by what they are looked up by.
#[derive(Default)]
struct Join<'a> {
    namespaces: HashMap<&'a str, &'a NamespaceEntry>,
    pods: HashMap<&'a ObjectName, &'a PodEntry>,
    pod_by_uid: HashMap<&'a PodUid, &'a PodEntry>,
    pod_by_ip: HashMap<IpAddr, &'a PodEntry>,
    /// By namespace, in name order.
    pods_in: HashMap<&'a str, Vec<&'a PodEntry>>,
    services: Vec<&'a KubernetesService>,
    slices: HashMap<&'a ObjectName, Vec<&'a SliceEntry>>,
    policies: Policies<'a>,
}

pub(super) fn join(
    entries: &BTreeMap<ObjectKey, Entry>,
    hosts: &BTreeMap<ObjectName, Host<'_>>,
    allocations: Allocations,
    config: &IndexConfig,
    version: u64,
) -> Arc<Snapshot> {
    let join = Join::new(entries);
    let mut snapshot = SnapshotBuilder::new(version, &config.dns.cluster_domain);
    for pod in join.pods.values() {
        snapshot = snapshot.pod(join.pod(pod, config));
    }
    for (name, namespace) in &join.namespaces {
        if join.enrols(name, namespace, config) {
            let when_agent_down = namespace.when_agent_down.unwrap_or(config.enrolment.when_agent_down);
            snapshot = snapshot.enrolled_namespace(name, when_agent_down);
        }
    }
    for service in &join.services {
        snapshot = snapshot.service(join.service(service, &config.dns.cluster_domain));
    }
    for (name, host) in hosts {
        snapshot = snapshot.service(join.host(name, host, allocations.of_host(name)));
    }
    for allocation in allocations.into_values() {
        snapshot = snapshot.allocation(allocation);
    }
    snapshot.build()
}

// === impl Join ===

impl<'a> Join<'a> {
    fn new(entries: &'a BTreeMap<ObjectKey, Entry>) -> Self {
        let mut join = Self::default();
        for (key, entry) in entries {
            match entry {
                Entry::Namespace(namespace) => {
                    join.namespaces.insert(&key.name, namespace);
                }
                Entry::Pod(pod) => join.add_pod(pod),
                Entry::Service(service) => join.services.push(service),
                Entry::EndpointSlice(slice) => {
                    if let Some(service) = &slice.service {
                        join.slices.entry(service).or_default().push(slice);
                    }
                }
                Entry::Policy(policy) => join.policies.add(key, policy),
                Entry::Node | Entry::Hosts(_) | Entry::ServiceCidr(_) => {}
            }
        }
        join
    }

    fn add_pod(&mut self, pod: &'a PodEntry) {
        self.pods.insert(&pod.name, pod);
        self.pod_by_uid.insert(&pod.uid, pod);
        self.pods_in.entry(&pod.name.namespace).or_default().push(pod);
        if pod.owns_addresses() {
            self.pod_by_ip.extend(pod.ips.iter().map(|ip| (*ip, pod)));
        }
    }

    /// Whether a pod of the namespace is enrolled that says nothing itself.
    fn enrols(&self, name: &str, namespace: &NamespaceEntry, config: &IndexConfig) -> bool {
        let facts = PodFacts {
            namespace: name,
            labels: &BTreeMap::new(),
            host_network: false,
            has_sidecar: false,
            is_terminal: false,
            has_address: true,
        };
        matches!(enrolment::decide(&facts, &namespace.labels, &config.enrolment), Enrolment::Enrolled(_))
    }

    fn pod(&self, pod: &PodEntry, config: &IndexConfig) -> Pod {
        let unknown = NamespaceEntry::unknown(&pod.name.namespace);
        let seen = self.namespaces.get(&*pod.name.namespace).copied();
        let namespace = seen.unwrap_or(&unknown);
        let mut exclusions = config.exclusions.node.clone();
        exclusions.extend(&pod.exclusions.own);
        Pod {
            uid: pod.uid.clone(),
            name: pod.name.clone(),
            node: pod.node.clone(),
            service_account: pod.service_account.clone(),
            ips: pod.ips.clone(),
            runtime_uid: pod.runtime_uid.clone(),
            netns: pod.netns.clone(),
            enrolment: enrolment::decide(&pod.facts(), &namespace.labels, &config.enrolment),
            terminating: pod.terminating,
            when_agent_down: namespace.when_agent_down.unwrap_or(config.enrolment.when_agent_down),
            existing_connections: pod.existing_connections.unwrap_or(namespace.existing_connections),
            policed_by: self.policies.first_over(pod, seen.map(|namespace| &namespace.labels)),
            exclusions,
            refused_exclusions: pod.exclusions.refused.iter().map(ToString::to_string).collect(),
            redirection: pod.redirection.clone(),
            dns: pod.dns.of_pod(&pod.name.namespace, &config.dns),
            outbound_policy: namespace.outbound_policy.unwrap_or(config.outbound_policy),
        }
    }

    fn service(&self, service: &KubernetesService, cluster_domain: &str) -> Service {
        let KubernetesService { name, vips, ports, affinity, node_local, external_name, visibility, .. } =
            service;
        let slices = self.slices.get(name).map(Vec::as_slice).unwrap_or_default();
        let port = |port: &PortEntry| ServicePort {
            name: port.name.clone(),
            port: port.port,
            endpoints: self.endpoints(port, slices),
            ..ServicePort::default()
        };
        Service {
            vips: vips.clone(),
            ports: ports.iter().map(port).collect(),
            discovery: match vips.is_empty() && external_name.is_none() {
                true => Discovery::AsDialled,
                false => Discovery::Endpoints,
            },
            external_name: external_name.clone(),
            visibility: visibility.clone(),
            affinity: *affinity,
            node_local: *node_local,
            ..Service::kubernetes(name.clone(), cluster_domain)
        }
    }

    /// In the order of their addresses. One that stands in two slices, as it may while it moves from one to the
    /// other, counts once.
    fn endpoints(&self, port: &PortEntry, slices: &[&SliceEntry]) -> Vec<Endpoint> {
        let mut endpoints: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
        for slice in slices {
            for slice_port in slice.ports.iter().filter(|p| p.name == port.name) {
                let number = slice_port.port.unwrap_or(port.target);
                for written in &slice.endpoints {
                    let endpoint = self.endpoint(written, number);
                    endpoints
                        .entry(endpoint.addr.0)
                        .and_modify(|known| merge(known, &endpoint))
                        .or_insert(endpoint);
                }
            }
        }
        endpoints.into_values().collect()
    }

    fn endpoint(&self, endpoint: &EndpointEntry, port: u16) -> Endpoint {
        let EndpointEntry { ip, state, node, pod, hostname } = endpoint;
        let pod = self.pod_behind(*ip, pod.as_ref());
        Endpoint {
            addr: EndpointAddr(SocketAddr::new(*ip, port)),
            state: *state,
            node: node.clone().or_else(|| pod.and_then(|pod| pod.node.clone())),
            pod: pod.map(|pod| pod.uid.clone()),
            hostname: hostname.clone(),
        }
    }

    /// A reference counts only if the pod does not have other addresses: else a slice could lead the traffic of one
    /// pod into another.
    fn pod_behind(&self, ip: IpAddr, target: Option<&PodRef>) -> Option<&'a PodEntry> {
        let referred = target.and_then(|PodRef { uid, name }| match uid {
            Some(uid) => self.pod_by_uid.get(uid),
            None => self.pods.get(name),
        });
        let referred = referred.filter(|pod| pod.ips.is_empty() || pod.ips.contains(&ip));
        referred.or_else(|| self.pod_by_ip.get(&ip)).copied()
    }
}

/// The more useful state wins: a slice that is behind knows less.
fn merge(known: &mut Endpoint, other: &Endpoint) {
    let rank = |state: EndpointState| match state {
        EndpointState::Ready => 0,
        EndpointState::Terminating => 1,
        EndpointState::NotReady => 2,
    };
    if rank(other.state) < rank(known.state) {
        known.state = other.state;
    }
    known.node = known.node.take().or_else(|| other.node.clone());
    known.pod = known.pod.take().or_else(|| other.pod.clone());
    known.hostname = known.hostname.take().or_else(|| other.hostname.clone());
}
