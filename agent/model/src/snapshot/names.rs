//! Services and their endpoints by their names in DNS.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{Endpoint, EndpointState, ObjectName, Registry, Service};

#[derive(Debug, Default, PartialEq)]
pub(super) struct Names {
    services: HashMap<Arc<str>, Vec<ObjectName>>,
    endpoints: HashMap<Arc<str>, (ObjectName, Vec<IpAddr>)>,
    ready: HashMap<ObjectName, ReadyAddresses>,
}

/// Of the endpoints of a headless service that are ready, or published as if they were: each once, in their order. Kept
/// apart, for a query must not take the longer the more there are.
#[derive(Debug, Default, PartialEq)]
pub struct ReadyAddresses {
    pub v4: Vec<IpAddr>,
    pub v6: Vec<IpAddr>,
}

// === impl Names ===

impl Names {
    pub(super) fn services(&self, host: &str) -> &[ObjectName] {
        self.services.get(host).map_or(&[], Vec::as_slice)
    }

    pub(super) fn endpoints(&self, host: &str) -> Option<(&ObjectName, &[IpAddr])> {
        self.endpoints.get(host).map(|(service, ips)| (service, ips.as_slice()))
    }

    pub(super) fn ready(&self, service: &ObjectName) -> Option<&ReadyAddresses> {
        self.ready.get(service)
    }

    pub(super) fn add(&mut self, service: &Service) {
        self.services.entry(service.host.clone()).or_default().push(service.name.clone());
        if !service.is_headless() {
            return;
        }
        let ready = ReadyAddresses::of(service);
        if !ready.v4.is_empty() || !ready.v6.is_empty() {
            self.ready.insert(service.name.clone(), ready);
        }
        if service.registry == Registry::Kubernetes {
            self.add_endpoints(service);
        }
    }

    fn add_endpoints(&mut self, service: &Service) {
        for endpoint in ready(service) {
            let Some(hostname) = &endpoint.hostname else { continue };
            let host = format!("{hostname}.{}", service.host).into();
            let (_, ips) = self.endpoints.entry(host).or_insert_with(|| (service.name.clone(), Vec::new()));
            // It stands once in each port.
            if !ips.contains(&endpoint.addr.ip()) {
                ips.push(endpoint.addr.ip());
            }
        }
    }

    pub(super) fn sort<K: Ord>(&mut self, precedence: &impl Fn(&ObjectName) -> K) {
        for names in self.services.values_mut().filter(|names| 1 < names.len()) {
            names.sort_by_cached_key(precedence);
        }
    }
}

/// Each endpoint once in each port.
fn ready(service: &Service) -> impl Iterator<Item = &Endpoint> {
    let all = service.ports.iter().flat_map(|port| &port.endpoints);
    all.filter(|endpoint| endpoint.state == EndpointState::Ready)
}

// === impl ReadyAddresses ===

impl ReadyAddresses {
    fn of(service: &Service) -> Self {
        let mut seen = HashSet::new();
        let ips = ready(service).map(|endpoint| endpoint.addr.ip().to_canonical());
        let (mut v4, mut v6): (Vec<_>, Vec<_>) = ips.filter(|ip| seen.insert(*ip)).partition(IpAddr::is_ipv4);
        v4.shrink_to_fit();
        v6.shrink_to_fit();
        Self { v4, v6 }
    }
}
