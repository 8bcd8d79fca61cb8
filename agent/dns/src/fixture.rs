//! The cluster that the tests ask about.

use std::sync::Arc;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use model::{
    Discovery, Endpoint, EndpointAddr, EndpointState, ObjectName, Service, ServicePort, Snapshot,
    SnapshotBuilder, Visibility,
};

use crate::{AnswerConfig, Client, Decision, Transport, decide};

/// As the agent's configuration has it by default.
pub(crate) const CONFIG: AnswerConfig = AnswerConfig { ttl: 30 };

/// A pod of the namespace, with the search list that Kubernetes gives it and a domain of its node.
pub(crate) fn search(namespace: &str) -> Vec<Arc<str>> {
    let own = format!("{namespace}.svc.cluster.local");
    [&own, "svc.cluster.local", "cluster.local", "corp.example"].map(Arc::from).to_vec()
}

pub(crate) fn query(name: &str, record_type: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, record_type));
    message
}

pub(crate) fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload).set_version(0);
    message.set_edns(edns);
    message
}

/// Of a pod in `shop`; nothing is shuffled.
pub(crate) fn decided<'a>(snapshot: &'a Snapshot, message: &[u8], transport: Transport) -> Decision<'a> {
    let search = search("shop");
    let client = Client { namespace: "shop", search: &search };
    decide(snapshot, &client, &CONFIG, message, transport, |_| 0)
}

pub(crate) fn cluster() -> Arc<Snapshot> {
    use EndpointState::{NotReady, Ready, Terminating};
    let only = |namespaces: &[&str]| {
        Visibility::Namespaces(namespaces.iter().map(|&namespace| namespace.into()).collect())
    };
    SnapshotBuilder::new(1, "cluster.local")
        .service(Service { vips: ips(&["192.0.2.10", "2001:db8::10"]), ..kubernetes("shop", "web") })
        .service(Service { vips: ips(&["192.0.2.11"]), ..kubernetes("shop", "four") })
        .service(Service { vips: ips(&["192.0.2.12", "192.0.2.13"]), ..kubernetes("other", "web") })
        .service(Service { vips: ips(&["192.0.2.14"]), ..kubernetes("other", "api") })
        .service(kubernetes("shop", "pending"))
        .service(Service {
            vips: ips(&["192.0.2.15"]),
            visibility: only(&["other"]),
            ..kubernetes("other", "private")
        })
        .service(Service {
            discovery: Discovery::AsDialled,
            ports: vec![
                port(
                    5432,
                    &[
                        ("198.51.100.1:5432", Ready, Some("db-0")),
                        ("198.51.100.2:5432", NotReady, Some("db-1")),
                        ("198.51.100.3:5432", Terminating, Some("db-2")),
                        ("198.51.100.4:5432", Ready, Some("db-3")),
                    ],
                ),
                port(8080, &[("198.51.100.1:8080", Ready, Some("db-0")), ("198.51.100.5:8080", Ready, None)]),
            ],
            ..kubernetes("shop", "db")
        })
        .service(Service {
            discovery: Discovery::AsDialled,
            ports: vec![port(80, &[("198.51.100.9:80", NotReady, Some("idle-0"))])],
            ..kubernetes("shop", "idle")
        })
        .service(Service {
            discovery: Discovery::AsDialled,
            visibility: only(&["other"]),
            ports: vec![port(80, &[("198.51.100.10:80", Ready, Some("hidden-0"))])],
            ..kubernetes("other", "hidden")
        })
        .service(Service {
            discovery: Discovery::AsDialled,
            ports: vec![port(80, &[("198.51.100.11:80", Ready, None)])],
            ..Service::entry("shop", "legacy.shop.svc.cluster.local")
        })
        .service(alias("to-mesh", "api.example.com"))
        .service(alias("to-alias", "TO-MESH.shop.svc.cluster.local."))
        .service(alias("to-wildcard", "any.wild.example"))
        .service(alias("to-internet", "www.example.org"))
        .service(alias("to-short", "web"))
        .service(alias("to-raw", "raw.example.com"))
        .service(alias("to-hidden", "private.other.svc.cluster.local"))
        .service(alias("to-itself", "to-itself.shop.svc.cluster.local"))
        .service(alias("ping", "pong.shop.svc.cluster.local"))
        .service(alias("pong", "ping.shop.svc.cluster.local"))
        .service(Service {
            allocated: ips(&["240.240.0.1", "2001:2::1"]),
            ..Service::entry("shop", "api.example.com")
        })
        .service(Service { vips: ips(&["203.0.113.1"]), ..Service::entry("shop", "given.example.com") })
        // Not allocated yet.
        .service(Service { discovery: Discovery::Dns, ..Service::entry("shop", "late.example.com") })
        .service(Service {
            networks: vec!["203.0.113.0/24".parse().unwrap()],
            ..Service::entry("shop", "network.example.com")
        })
        .service(Service {
            discovery: Discovery::AsDialled,
            ports: vec![port(443, &[("203.0.113.2:443", Ready, None)])],
            ..Service::entry("shop", "raw.example.com")
        })
        .service(Service { allocated: ips(&["240.240.0.2"]), ..Service::entry("shop", "*.wild.example") })
        .service(Service {
            allocated: ips(&["240.240.0.3"]),
            ..Service::entry("shop", "*.deep.wild.example")
        })
        .service(Service { allocated: ips(&["240.240.0.4"]), ..Service::entry("shop", "*.tld") })
        // Catches what is left of the cluster domain.
        .service(Service { allocated: ips(&["240.240.0.5"]), ..Service::entry("shop", "*.cluster.local") })
        // Each of these would be taken for another, were the rules a little different.
        .service(Service { allocated: ips(&["240.240.0.6"]), ..Service::entry("other", "twice.example.com") })
        .service(Service { allocated: ips(&["240.240.0.7"]), ..Service::entry("shop", "twice.example.com") })
        .service(Service { allocated: ips(&["240.240.0.8"]), ..Service::entry("b", "elsewhere.example.com") })
        .service(Service { allocated: ips(&["240.240.0.9"]), ..Service::entry("c", "elsewhere.example.com") })
        .service(Service {
            allocated: ips(&["240.240.0.10"]),
            visibility: only(&["a"]),
            ..Service::entry("a", "elsewhere.example.com")
        })
        .service(Service {
            allocated: ips(&["240.240.0.11"]),
            ..Service::entry("b", "api.other.svc.cluster.local")
        })
        .service(Service {
            allocated: ips(&["240.240.0.12"]),
            visibility: only(&["other"]),
            ..Service::entry("other", "secret.example.com")
        })
        .service(Service {
            allocated: ips(&["240.240.0.13"]),
            ..Service::entry("other", "waits.example.com")
        })
        .service(Service { discovery: Discovery::Dns, ..Service::entry("shop", "waits.example.com") })
        .service(Service { allocated: ips(&["240.240.0.14"]), ..Service::entry("shop", "host.corp.example") })
        .build()
}

/// A headless service of so many pods.
pub(crate) fn crowd(pods: u16) -> Arc<Snapshot> {
    let endpoints: Vec<_> = (0..pods)
        .map(|i| {
            let [high, low] = i.to_be_bytes();
            endpoint(&format!("10.1.{high}.{low}:80"), EndpointState::Ready, None)
        })
        .collect();
    let ports = vec![ServicePort { port: 80, endpoints, ..ServicePort::default() }];
    SnapshotBuilder::new(1, "cluster.local")
        .service(Service { discovery: Discovery::AsDialled, ports, ..kubernetes("shop", "crowd") })
        .build()
}

fn kubernetes(namespace: &str, name: &str) -> Service {
    Service::kubernetes(ObjectName::new(namespace, name), "cluster.local")
}

fn alias(name: &str, external_name: &str) -> Service {
    Service { external_name: Some(external_name.into()), ..kubernetes("shop", name) }
}

fn ips(ips: &[&str]) -> Vec<std::net::IpAddr> {
    ips.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn port(port: u16, endpoints: &[(&str, EndpointState, Option<&str>)]) -> ServicePort {
    let endpoints =
        endpoints.iter().map(|&(addr, state, hostname)| endpoint(addr, state, hostname)).collect();
    ServicePort { port, endpoints, ..ServicePort::default() }
}

fn endpoint(addr: &str, state: EndpointState, hostname: Option<&str>) -> Endpoint {
    Endpoint {
        addr: EndpointAddr(addr.parse().unwrap()),
        state,
        node: None,
        pod: None,
        hostname: hostname.map(Into::into),
    }
}
