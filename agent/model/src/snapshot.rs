//! The immutable view of the cluster that every component reads.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{Allocation, Enrolment, ObjectName, Pod, PodUid, Registered, Service, Uncaptured, WhenAgentDown};

mod addresses;
mod names;

pub use self::names::ReadyAddresses;
use self::{addresses::Addresses, names::Names};

/// Everything the agent knows of the cluster at one moment. Cheap to share, never changed.
#[derive(Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Grows by one with each snapshot published; 0 is the empty one before the first.
    pub version: u64,
    /// `cluster.local`: what the names of Kubernetes Services end in.
    pub cluster_domain: Arc<str>,
    pods: HashMap<PodUid, Arc<Pod>>,
    pod_by_ip: HashMap<IpAddr, PodUid>,
    enrolled_namespaces: BTreeMap<Arc<str>, WhenAgentDown>,
    services: HashMap<ObjectName, Arc<Service>>,
    names: Names,
    addresses: Addresses,
    allocations: Vec<Allocation>,
}

/// Collects pods and services into a [`Snapshot`].
#[derive(Debug, Default)]
pub struct SnapshotBuilder(Snapshot);

// === impl Snapshot ===

impl Snapshot {
    pub fn pod(&self, uid: &PodUid) -> Option<&Arc<Pod>> {
        self.pods.get(uid)
    }

    /// The pod that has this address. Pods in the host's network are never found by address, for it is the
    /// node's; nor are those that have finished, for another may already have it.
    pub fn pod_by_ip(&self, ip: IpAddr) -> Option<&Arc<Pod>> {
        self.pod_by_ip.get(&ip.to_canonical()).and_then(|uid| self.pods.get(uid))
    }

    pub fn pod_by_name(&self, name: &ObjectName) -> Option<&Arc<Pod>> {
        self.pods.values().find(|pod| pod.name == *name)
    }

    /// Whether both say the same of the cluster, whatever their versions.
    pub fn same_content(&self, other: &Self) -> bool {
        let Self {
            version: _,
            cluster_domain,
            pods,
            pod_by_ip,
            enrolled_namespaces,
            services,
            names,
            addresses,
            allocations,
        } = self;
        *cluster_domain == other.cluster_domain
            && *pods == other.pods
            && *pod_by_ip == other.pod_by_ip
            && *enrolled_namespaces == other.enrolled_namespaces
            && *services == other.services
            && *names == other.names
            && *addresses == other.addresses
            && *allocations == other.allocations
    }

    pub fn service(&self, name: &ObjectName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// The services that have this host, which may be a wildcard: those of Kubernetes first, then in name order.
    pub fn services_of_host(&self, host: &str) -> impl Iterator<Item = &Arc<Service>> {
        self.services_named(self.names.services(host))
    }

    /// The endpoints that have this name below that of a headless service, and the service.
    pub fn endpoints_of_host(&self, host: &str) -> Option<(&Arc<Service>, &[IpAddr])> {
        let (service, ips) = self.names.endpoints(host)?;
        Some((self.services.get(service)?, ips))
    }

    /// Of a headless service; `None` if no endpoint is ready.
    pub fn ready_addresses(&self, service: &ObjectName) -> Option<&ReadyAddresses> {
        self.names.ready(service)
    }

    /// The services that have this address or one of whose networks contains it, in order of precedence: the address
    /// itself, then longer prefixes before shorter ones; of equals those of Kubernetes first, then in name order.
    pub fn services_at(&self, ip: IpAddr) -> impl Iterator<Item = &Arc<Service>> {
        let ip = ip.to_canonical();
        let by_network = self.addresses.networks(ip).flat_map(|names| self.services_named(names));
        self.services_named(self.addresses.services(ip)).chain(by_network)
    }

    /// The headless service one of whose endpoints is exactly this address: it has no VIP by which to know it.
    /// The first in name order where there are several.
    pub fn headless_service(&self, endpoint: SocketAddr) -> Option<&Arc<Service>> {
        self.services.get(self.addresses.headless(endpoint)?)
    }

    /// The services that have this port of every address that is nobody else's, in name order: ServiceEntries of
    /// resolution `NONE` without addresses and endpoints.
    pub fn services_of_any_address(&self, port: u16) -> impl Iterator<Item = &Arc<Service>> {
        self.services_named(self.addresses.any_address(port))
    }

    /// All that somebody in the mesh has: what is not among it, is nobody's to any pod.
    pub fn registered(&self) -> HashSet<Registered> {
        let pods = self.pod_by_ip.keys().map(|ip| Registered::Addresses((*ip).into()));
        self.addresses.registered().chain(pods).collect()
    }

    fn services_named<'a>(&'a self, names: &'a [ObjectName]) -> impl Iterator<Item = &'a Arc<Service>> {
        names.iter().filter_map(|name| self.services.get(name))
    }

    /// What hosts were given for want of addresses of their own, in name order; also what is kept for those that are gone.
    pub fn allocations(&self) -> &[Allocation] {
        &self.allocations
    }

    /// Those in which a pod is enrolled that says nothing itself, and what holds for it while no agent runs.
    pub fn enrolled_namespaces(&self) -> &BTreeMap<Arc<str>, WhenAgentDown> {
        &self.enrolled_namespaces
    }

    /// All pods, in name order.
    pub fn pods(&self) -> Vec<&Arc<Pod>> {
        in_name_order(self.pods.values())
    }

    /// Those of one node, in name order.
    pub fn pods_on(&self, node: &str) -> Vec<&Arc<Pod>> {
        in_name_order(self.pods.values().filter(|pod| pod.is_on(node)))
    }

    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// All services, in name order.
    pub fn services(&self) -> Vec<&Arc<Service>> {
        let mut services: Vec<_> = self.services.values().collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        services
    }
}

fn in_name_order<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>) -> Vec<&'a Arc<Pod>> {
    let mut pods: Vec<_> = pods.collect();
    pods.sort_by(|a, b| (&a.name, &a.uid).cmp(&(&b.name, &b.uid)));
    pods
}

// === impl SnapshotBuilder ===

impl SnapshotBuilder {
    pub fn new(version: u64, cluster_domain: &str) -> Self {
        Self(Snapshot { version, cluster_domain: cluster_domain.into(), ..Snapshot::default() })
    }

    #[must_use]
    pub fn pod(mut self, pod: Pod) -> Self {
        let is_anothers = matches!(
            pod.enrolment,
            Enrolment::NotEnrolled(Uncaptured::HostNetwork { .. } | Uncaptured::Terminal)
        );
        if !is_anothers {
            for ip in &pod.ips {
                self.0.pod_by_ip.insert(ip.to_canonical(), pod.uid.clone());
            }
        }
        self.0.pods.insert(pod.uid.clone(), Arc::new(pod));
        self
    }

    /// At most one of each name.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.0.names.add(&service);
        self.0.addresses.add(&service);
        self.0.services.insert(service.name.clone(), Arc::new(service));
        self
    }

    #[must_use]
    pub fn enrolled_namespace(mut self, name: &str, when_agent_down: WhenAgentDown) -> Self {
        self.0.enrolled_namespaces.insert(name.into(), when_agent_down);
        self
    }

    #[must_use]
    pub fn allocation(mut self, allocation: Allocation) -> Self {
        self.0.allocations.push(allocation);
        self
    }

    pub fn build(mut self) -> Arc<Snapshot> {
        let Snapshot { names, addresses, services, allocations, .. } = &mut self.0;
        allocations.sort_by(|a, b| a.host.cmp(&b.host));
        // In whatever order they came, the same service comes first.
        let precedence =
            |name: &ObjectName| services.get(name).map(|service| (service.registry, name.clone()));
        names.sort(&precedence);
        addresses.sort(&precedence);
        Arc::new(self.0)
    }
}
