//! One host of ServiceEntries, joined with what is behind it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use model::{
    Discovery, Endpoint, EndpointAddr, EndpointState, NamedEndpoint, ObjectName, Service, ServicePort,
};

use super::Join;
use crate::index::{
    hosts::{At, Backing, HostPort, HostsEntry, merge::Host},
    pods::PodEntry,
    slices::state_of,
};

// === impl Join ===

impl Join<'_> {
    pub(super) fn host(&self, name: &ObjectName, host: &Host<'_>, allocated: &[IpAddr]) -> Service {
        let ports = host.ports.iter().map(|(entry, port)| self.host_port(&name.name, entry, port));
        let ports: Vec<ServicePort> = ports.collect();
        let selects_nothing = matches!(host.entry.backing, Backing::Pods(_))
            && ports.iter().all(|port| port.endpoints.is_empty());
        Service {
            vips: host.addresses.clone(),
            allocated: allocated.to_vec(),
            networks: host.networks.clone(),
            ports,
            discovery: match host.entry.discovery {
                // Without pods it has no address; as one that is dialled at any address it would have all.
                Discovery::AsDialled if selects_nothing => Discovery::Endpoints,
                discovery => discovery,
            },
            location: Some(host.entry.location),
            visibility: host.entry.visibility.clone(),
            ..Service::entry(&name.namespace, &name.name)
        }
    }

    fn host_port(&self, host: &Arc<str>, entry: &HostsEntry, port: &HostPort) -> ServicePort {
        // In the order of their addresses, each once.
        let mut endpoints: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
        let mut weights = BTreeMap::new();
        let mut names = Vec::new();
        let mut name = |host: Arc<str>, port: u16| {
            let name = NamedEndpoint { host, port };
            if !names.contains(&name) {
                names.push(name);
            }
        };
        let is_by_name = matches!(entry.discovery, Discovery::Dns | Discovery::DnsRoundRobin);
        match &entry.backing {
            Backing::Host => name(host.clone(), port.target),
            Backing::Endpoints(written) => {
                for endpoint in written {
                    let number = endpoint.port(port);
                    match &endpoint.at {
                        At::Name(host) => name(host.clone(), number),
                        // Among names an address is one that leads to itself.
                        At::Address(ip) if is_by_name => name(ip.to_string().into(), number),
                        At::Address(ip) => {
                            let addr = SocketAddr::new(*ip, number);
                            let pod = self.pod_by_ip.get(ip).copied();
                            endpoints.insert(addr, host_endpoint(addr, EndpointState::Ready, pod));
                            weights.extend(endpoint.weight.map(|weight| (EndpointAddr(addr), weight)));
                        }
                    }
                }
            }
            Backing::Pods(labels) => {
                for (pod, ip) in self.selected(&entry.name.namespace, labels) {
                    let addr = SocketAddr::new(ip, port.target);
                    let ready = pod.is_ready && !pod.terminating;
                    let state = state_of(ready, pod.is_ready, pod.terminating);
                    endpoints.insert(addr, host_endpoint(addr, state, Some(pod)));
                }
            }
        }
        ServicePort {
            name: port.name.clone(),
            port: port.port,
            endpoints: endpoints.into_values().collect(),
            weights,
            names,
        }
    }

    /// The running pods with these labels, once for each address.
    fn selected(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
    ) -> impl Iterator<Item = (&PodEntry, IpAddr)> {
        let pods = self.pods_in.get(namespace).into_iter().flatten().copied();
        let selected = pods
            .filter(|pod| !pod.is_terminal)
            .filter(|pod| labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value)));
        selected.flat_map(|pod| pod.ips.iter().map(move |ip| (pod, *ip)))
    }
}

fn host_endpoint(addr: SocketAddr, state: EndpointState, pod: Option<&PodEntry>) -> Endpoint {
    Endpoint {
        addr: EndpointAddr(addr),
        state,
        node: pod.and_then(|pod| pod.node.clone()),
        pod: pod.map(|pod| pod.uid.clone()),
        hostname: None,
    }
}
