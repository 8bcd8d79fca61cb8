//! Services by what may be dialled for them.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
};

use crate::{Cidr, ObjectName, Registered, Registry, Service};

#[derive(Debug, Default, PartialEq)]
pub(super) struct Addresses {
    /// Several ServiceEntries may share an address, and differ in their ports.
    services: HashMap<IpAddr, Vec<ObjectName>>,
    networks: HashMap<Cidr, Vec<ObjectName>>,
    /// Of the networks.
    lengths: BTreeSet<u8>,
    headless: HashMap<SocketAddr, ObjectName>,
    any_address: HashMap<u16, Vec<ObjectName>>,
}

// === impl Addresses ===

impl Addresses {
    pub(super) fn services(&self, ip: IpAddr) -> &[ObjectName] {
        self.services.get(&ip).map_or(&[], Vec::as_slice)
    }

    /// Of the longest prefix first.
    pub(super) fn networks(&self, ip: IpAddr) -> impl Iterator<Item = &[ObjectName]> {
        let containing = move |&length: &u8| self.networks.get(&Cidr::containing(ip, length)?);
        self.lengths.iter().rev().filter_map(containing).map(Vec::as_slice)
    }

    pub(super) fn headless(&self, endpoint: SocketAddr) -> Option<&ObjectName> {
        self.headless.get(&endpoint)
    }

    pub(super) fn any_address(&self, port: u16) -> &[ObjectName] {
        self.any_address.get(&port).map_or(&[], Vec::as_slice)
    }

    pub(super) fn registered(&self) -> impl Iterator<Item = Registered> {
        let Self { services, networks, lengths: _, headless, any_address } = self;
        let endpoints = headless.keys().map(SocketAddr::ip);
        let addresses = services.keys().copied().chain(endpoints).map(Cidr::from);
        let ports = any_address.keys().copied().map(Registered::Port);
        addresses.chain(networks.keys().copied()).map(Registered::Addresses).chain(ports)
    }

    pub(super) fn add(&mut self, service: &Service) {
        for ip in service.addresses() {
            self.services.entry(ip.to_canonical()).or_default().push(service.name.clone());
        }
        for network in &service.networks {
            self.networks.entry(*network).or_default().push(service.name.clone());
            self.lengths.insert(network.length());
        }
        let has_address = service.addresses().next().is_some() || !service.networks.is_empty();
        if service.is_headless() && !has_address {
            self.add_headless(service);
        }
    }

    fn add_headless(&mut self, service: &Service) {
        for port in &service.ports {
            if port.endpoints.is_empty() && service.registry == Registry::ServiceEntry {
                self.any_address.entry(port.port).or_default().push(service.name.clone());
            }
            for endpoint in &port.endpoints {
                let first = self.headless.entry(endpoint.addr.0).or_insert_with(|| service.name.clone());
                if service.name < *first {
                    *first = service.name.clone();
                }
            }
        }
    }

    pub(super) fn sort<K: Ord>(&mut self, precedence: &impl Fn(&ObjectName) -> K) {
        let all =
            self.services.values_mut().chain(self.networks.values_mut()).chain(self.any_address.values_mut());
        for names in all.filter(|names| 1 < names.len()) {
            names.sort_by_cached_key(precedence);
        }
    }
}
