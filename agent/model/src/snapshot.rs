//! The immutable view of the cluster that every component reads.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{Enrolment, ObjectName, Pod, PodUid, Service, Uncaptured, WhenAgentDown};

/// Everything the agent knows of the cluster at one moment. Cheap to share, never changed.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows by one with each snapshot published; 0 is the empty one before the first.
    pub version: u64,
    pods: HashMap<PodUid, Arc<Pod>>,
    pod_by_ip: HashMap<IpAddr, PodUid>,
    services: HashMap<ObjectName, Arc<Service>>,
    service_by_vip: HashMap<IpAddr, ObjectName>,
    headless_by_endpoint: HashMap<SocketAddr, ObjectName>,
    enrolled_namespaces: BTreeMap<Arc<str>, WhenAgentDown>,
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
            pods,
            pod_by_ip,
            services,
            service_by_vip,
            headless_by_endpoint,
            enrolled_namespaces,
        } = self;
        *pods == other.pods
            && *pod_by_ip == other.pod_by_ip
            && *services == other.services
            && *service_by_vip == other.service_by_vip
            && *headless_by_endpoint == other.headless_by_endpoint
            && *enrolled_namespaces == other.enrolled_namespaces
    }

    pub fn service(&self, name: &ObjectName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    pub fn service_by_vip(&self, vip: IpAddr) -> Option<&Arc<Service>> {
        self.service_by_vip.get(&vip.to_canonical()).and_then(|name| self.services.get(name))
    }

    /// The headless service one of whose endpoints is exactly this address: it has no VIP by which to know it.
    /// The first in name order where there are several.
    pub fn headless_service(&self, endpoint: SocketAddr) -> Option<&Arc<Service>> {
        self.headless_by_endpoint.get(&endpoint).and_then(|name| self.services.get(name))
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
    pub fn new(version: u64) -> Self {
        Self(Snapshot { version, ..Snapshot::default() })
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

    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        for vip in &service.vips {
            self.0.service_by_vip.insert(vip.to_canonical(), service.name.clone());
        }
        if service.vips.is_empty() {
            self.add_headless(&service);
        }
        self.0.services.insert(service.name.clone(), Arc::new(service));
        self
    }

    #[must_use]
    pub fn enrolled_namespace(mut self, name: &str, when_agent_down: WhenAgentDown) -> Self {
        self.0.enrolled_namespaces.insert(name.into(), when_agent_down);
        self
    }

    fn add_headless(&mut self, service: &Service) {
        for endpoint in service.ports.iter().flat_map(|port| &port.endpoints) {
            let name =
                self.0.headless_by_endpoint.entry(endpoint.addr.0).or_insert_with(|| service.name.clone());
            if service.name < *name {
                *name = service.name.clone();
            }
        }
    }

    pub fn build(self) -> Arc<Snapshot> {
        Arc::new(self.0)
    }
}
