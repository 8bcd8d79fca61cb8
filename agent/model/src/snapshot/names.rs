//! Services and their endpoints by their names in DNS.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::{EndpointState, ObjectName, Registry, Service};

#[derive(Debug, Default, PartialEq)]
pub(super) struct Names {
    services: HashMap<Arc<str>, Vec<ObjectName>>,
    endpoints: HashMap<Arc<str>, (ObjectName, Vec<IpAddr>)>,
}

// === impl Names ===

impl Names {
    pub(super) fn services(&self, host: &str) -> &[ObjectName] {
        self.services.get(host).map_or(&[], Vec::as_slice)
    }

    pub(super) fn endpoints(&self, host: &str) -> Option<(&ObjectName, &[IpAddr])> {
        self.endpoints.get(host).map(|(service, ips)| (service, ips.as_slice()))
    }

    pub(super) fn add(&mut self, service: &Service) {
        self.services.entry(service.host.clone()).or_default().push(service.name.clone());
        if service.registry == Registry::Kubernetes && service.is_headless() {
            self.add_endpoints(service);
        }
    }

    /// Only what is ready, or published as if it were.
    fn add_endpoints(&mut self, service: &Service) {
        for endpoint in service.ports.iter().flat_map(|port| &port.endpoints) {
            let Some(hostname) =
                endpoint.hostname.as_ref().filter(|_| endpoint.state == EndpointState::Ready)
            else {
                continue;
            };
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
