//! What may be dialled, and the service that has it.

use std::collections::BTreeSet;

use model::{Discovery, EndpointState, Registry, Service, ServicePort, Snapshot};

use crate::api::{ListenerKind, ListenerRow};

/// In the order of the services; each with its addresses before its networks.
pub fn listeners(snapshot: &Snapshot) -> Vec<ListenerRow> {
    snapshot.services().iter().flat_map(|service| of_service(service)).collect()
}

fn of_service(service: &Service) -> Vec<ListenerRow> {
    let of_port = |port| {
        let row = move |(kind, address)| row(service, port, kind, address);
        addresses(service).into_iter().map(row).collect::<Vec<_>>()
    };
    let mut rows: Vec<_> = service.ports.iter().flat_map(of_port).collect();
    if rows.is_empty() && service.is_headless() {
        rows.extend(service.ports.iter().flat_map(|port| of_headless(service, port)));
    }
    rows
}

fn addresses(service: &Service) -> Vec<(ListenerKind, String)> {
    let vips = service.vips.iter().map(|ip| (ListenerKind::Vip, ip.to_string()));
    let allocated = service.allocated.iter().map(|ip| (ListenerKind::Allocated, ip.to_string()));
    let networks = service.networks.iter().map(|network| (ListenerKind::Network, network.to_string()));
    vips.chain(allocated).chain(networks).collect()
}

/// An entry for each address and port; only those that are ready, or published as if they were.
fn of_headless(service: &Service, port: &ServicePort) -> Vec<ListenerRow> {
    if port.endpoints.is_empty() && service.registry == Registry::ServiceEntry {
        return vec![row(service, port, ListenerKind::AnyAddress, "*".to_owned())];
    }
    let used = port.endpoints.iter().filter(|endpoint| endpoint.state != EndpointState::NotReady);
    let addrs: BTreeSet<_> = used.map(|endpoint| endpoint.addr.0).collect();
    let of = |addr: std::net::SocketAddr| ListenerRow {
        port: addr.port(),
        ..row(service, port, ListenerKind::Headless, addr.ip().to_string())
    };
    addrs.into_iter().map(of).collect()
}

fn row(service: &Service, port: &ServicePort, kind: ListenerKind, address: String) -> ListenerRow {
    ListenerRow {
        address,
        port: port.port,
        kind,
        namespace: service.name.namespace.to_string(),
        service: service.name.name.to_string(),
        discovery: word(service.discovery).to_owned(),
    }
}

fn word(discovery: Discovery) -> &'static str {
    match discovery {
        Discovery::Endpoints => "endpoints",
        Discovery::AsDialled => "as dialled",
        Discovery::Dns => "DNS",
        Discovery::DnsRoundRobin => "DNS, round robin",
        Discovery::DynamicDns => "dynamic DNS",
    }
}
