use std::{sync::Arc, time::Duration};

use model::{
    Affinity, Discovery, Enrolment, Exclusions, ExistingConnections, PodUid, ServicePort, SnapshotBuilder,
    Uncaptured, WhenAgentDown,
};

use super::*;

const HERE: &str = "node-a";

#[test]
fn destinations() {
    let snapshot = cluster();
    for (name, dialled, expected) in [
        ("vip and port", "192.0.2.10:80", "service shop/web port 80: 198.51.100.1:8080, 198.51.100.2:8080"),
        (
            "mapped vip",
            "[::ffff:192.0.2.10]:80",
            "service shop/web port 80: 198.51.100.1:8080, 198.51.100.2:8080",
        ),
        ("vip of the other family", "[2001:db8::10]:80", "service shop/web port 80: [2001:db8:1::1]:8080"),
        ("only terminating ones left", "192.0.2.10:81", "service shop/web port 81: 198.51.100.3:8081"),
        ("only the other family left", "[2001:db8::10]:82", "service shop/web port 82: 198.51.100.1:8082"),
        (
            "a ready one of the other family before a terminating one",
            "[2001:db8::10]:83",
            "service shop/web port 83: 198.51.100.1:8083",
        ),
        (
            "unknown port",
            "192.0.2.10:8080",
            "service shop/web port 8080 refused: the service has no such port",
        ),
        (
            "no endpoint at all",
            "192.0.2.10:84",
            "service shop/web port 84 refused: no endpoint of the service is ready",
        ),
        (
            "none ready",
            "192.0.2.10:85",
            "service shop/web port 85 refused: no endpoint of the service is ready",
        ),
        ("node-local", "192.0.2.20:80", "service shop/local port 80: 198.51.100.1:8080"),
        (
            "node-local, a terminating one here before a ready one elsewhere",
            "192.0.2.20:81",
            "service shop/local port 81: 198.51.100.1:8081",
        ),
        (
            "node-local, all elsewhere",
            "192.0.2.20:82",
            "service shop/local port 82 refused: internalTrafficPolicy is Local and no endpoint on this node is ready",
        ),
        (
            "node-local, none anywhere",
            "192.0.2.20:83",
            "service shop/local port 83 refused: no endpoint of the service is ready",
        ),
        ("pod", "198.51.100.1:22", "pod shop/web-1 at 198.51.100.1:22"),
        ("pod that serves a VIP, dialled itself", "198.51.100.1:8080", "pod shop/web-1 at 198.51.100.1:8080"),
        (
            "headless",
            "198.51.100.4:5432",
            "pod shop/db-0 at 198.51.100.4:5432 of the headless service shop/db",
        ),
        (
            "pod in the host's network",
            "203.0.113.1:80",
            "203.0.113.1:80 is neither a service nor a pod: passed through",
        ),
        ("unknown", "203.0.113.9:443", "203.0.113.9:443 is neither a service nor a pod: passed through"),
    ] {
        let dst = OriginalDst(dialled.parse().unwrap());
        assert_eq!(resolve(&snapshot, HERE, dst).to_string(), expected, "{name}");
    }
}

#[test]
fn serializes_names_not_whole_objects() {
    let snapshot = cluster();
    let json = |dialled: &str| {
        serde_json::to_value(resolve(&snapshot, HERE, OriginalDst(dialled.parse().unwrap()))).unwrap()
    };
    let refused = json("192.0.2.10:84");
    assert_eq!(refused["destination"], "refuse");
    assert_eq!(refused["service"]["name"], "web");
    assert_eq!(refused["because"], "no-endpoint");
    assert_eq!(json("198.51.100.4:5432")["pod"]["name"], "db-0");
    assert_eq!(json("192.0.2.10:80")["candidates"][0]["addr"], "198.51.100.1:8080");
    assert_eq!(json("203.0.113.9:443")["endpoint"], "203.0.113.9:443");
}

fn cluster() -> Arc<Snapshot> {
    use EndpointState::{NotReady, Ready, Terminating};
    SnapshotBuilder::new(1, "cluster.local")
        .pod(pod("web-1", "198.51.100.1", Uncaptured::NoLabel))
        .pod(pod("db-0", "198.51.100.4", Uncaptured::NoLabel))
        .pod(pod("node-exporter", "203.0.113.1", Uncaptured::HostNetwork { asked_by: None }))
        .service(Service {
            vips: vec!["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()],
            ports: vec![
                port(
                    80,
                    &[
                        ("198.51.100.1:8080", Ready, HERE),
                        ("198.51.100.2:8080", Ready, "node-b"),
                        ("198.51.100.3:8080", Terminating, HERE),
                        ("198.51.100.4:8080", NotReady, HERE),
                        ("[2001:db8:1::1]:8080", Ready, HERE),
                    ],
                ),
                port(81, &[("198.51.100.3:8081", Terminating, HERE), ("198.51.100.4:8081", NotReady, HERE)]),
                port(82, &[("198.51.100.1:8082", Ready, HERE)]),
                port(83, &[("198.51.100.1:8083", Ready, HERE), ("[2001:db8:1::1]:8083", Terminating, HERE)]),
                port(84, &[]),
                port(85, &[("198.51.100.4:8085", NotReady, HERE)]),
            ],
            affinity: Affinity::ClientIp(Duration::from_secs(10_800)),
            ..service("web")
        })
        .service(Service {
            vips: vec!["192.0.2.20".parse().unwrap()],
            ports: vec![
                port(80, &[("198.51.100.1:8080", Ready, HERE), ("198.51.100.2:8080", Ready, "node-b")]),
                port(81, &[("198.51.100.1:8081", Terminating, HERE), ("198.51.100.2:8081", Ready, "node-b")]),
                port(82, &[("198.51.100.1:8082", NotReady, HERE), ("198.51.100.2:8082", Ready, "node-b")]),
                port(83, &[]),
            ],
            node_local: true,
            ..service("local")
        })
        .service(Service {
            ports: vec![port(5432, &[("198.51.100.4:5432", Ready, HERE)])],
            discovery: Discovery::AsDialled,
            ..service("db")
        })
        .build()
}

fn service(name: &str) -> Service {
    Service::kubernetes(ObjectName::new("shop", name), "cluster.local")
}

fn pod(name: &str, ip: &str, why: Uncaptured) -> Pod {
    Pod {
        uid: PodUid::new(name),
        name: ObjectName::new("shop", name),
        node: Some(HERE.into()),
        service_account: "default".into(),
        ips: vec![ip.parse().unwrap()],
        runtime_uid: None,
        netns: None,
        enrolment: Enrolment::NotEnrolled(why),
        terminating: false,
        when_agent_down: WhenAgentDown::Closed,
        existing_connections: ExistingConnections::Keep,
        policed_by: None,
        exclusions: Exclusions::default(),
        refused_exclusions: Vec::new(),
        redirection: None,
        dns: model::PodDns::default(),
    }
}

fn port(port: u16, endpoints: &[(&str, EndpointState, &str)]) -> ServicePort {
    let endpoints = endpoints
        .iter()
        .map(|&(addr, state, node)| Endpoint {
            addr: EndpointAddr(addr.parse().unwrap()),
            state,
            node: Some(node.into()),
            pod: None,
            hostname: None,
        })
        .collect();
    ServicePort { port, endpoints, ..ServicePort::default() }
}
