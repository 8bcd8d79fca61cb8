use std::{sync::Arc, time::Duration};

use model::{
    Affinity, Enrolment, Exclusions, ExistingConnections, PodUid, Registered, SnapshotBuilder, Uncaptured,
    Visibility, WhenAgentDown,
};

use super::*;

const HERE: &str = "node-a";
const SHOP: Client<'_> = Client { node: HERE, namespace: "shop", outbound_policy: OutboundPolicy::AllowAny };

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
        ("headless", "198.51.100.4:5432", "pod shop/db-0 at 198.51.100.4:5432 of service shop/db"),
        (
            "pod in the host's network",
            "203.0.113.1:80",
            "203.0.113.1:80 is neither a service nor a pod: passed through",
        ),
        ("unknown", "203.0.113.9:443", "203.0.113.9:443 is neither a service nor a pod: passed through"),
    ] {
        let dst = OriginalDst(dialled.parse().unwrap());
        assert_eq!(resolve(&snapshot, SHOP, dst).to_string(), expected, "{name}");
    }
}

#[test]
fn entries() {
    const LOST: Client<'_> = Client { outbound_policy: OutboundPolicy::RegistryOnly, ..SHOP };
    const BARRED: &str =
        "refused: no service has this address and port, and the outbound traffic policy is REGISTRY_ONLY";
    let other = Client { namespace: "other", ..LOST };
    let snapshot = registry();
    for (name, client, dialled, expected) in [
        (
            "STATIC by its allocated address",
            SHOP,
            "240.240.0.1:443",
            "service shop/static.test port 443: 203.0.113.7:8443",
        ),
        (
            "a port that it lacks",
            SHOP,
            "240.240.0.1:80",
            "service shop/static.test port 80 refused: the service has no such port",
        ),
        (
            "DNS: all its names",
            SHOP,
            "240.240.0.2:443",
            "service shop/dns.test port 443: a.dns.test:443, b.dns.test:8443 by DNS",
        ),
        ("DNS_ROUND_ROBIN", SHOP, "240.240.0.3:443", "service shop/rr.test port 443: rr.test:443 by DNS"),
        (
            "by the allocated address of the other family",
            SHOP,
            "[2001:2::3]:443",
            "service shop/rr.test port 443: rr.test:443 by DNS",
        ),
        (
            "DNS without a name",
            SHOP,
            "240.240.0.2:80",
            "service shop/dns.test port 80 refused: no endpoint of the service is ready",
        ),
        (
            "DYNAMIC_DNS",
            SHOP,
            "240.240.0.4:443",
            "service shop/*.test port 443 refused: resolution is DYNAMIC_DNS, and TCP does not tell the proxy which \
             name the client asked for",
        ),
        (
            "NONE with an address",
            SHOP,
            "203.0.113.20:443",
            "service shop/none.test at 203.0.113.20:443: passed through",
        ),
        (
            "NONE with an address, a port that it lacks",
            SHOP,
            "203.0.113.20:80",
            "service shop/none.test port 80 refused: the service has no such port",
        ),
        (
            "two share an address: the one that has the port",
            SHOP,
            "203.0.113.30:81",
            "service shop/two.test at 203.0.113.30:81: passed through",
        ),
        (
            "both have the port: the first in name order",
            SHOP,
            "203.0.113.30:80",
            "service shop/one.test at 203.0.113.30:80: passed through",
        ),
        (
            "neither has the port",
            SHOP,
            "203.0.113.30:82",
            "service shop/one.test port 82 refused: the service has no such port",
        ),
        (
            "a VIP of Kubernetes that an entry shares, by the port of the entry",
            SHOP,
            "192.0.2.50:443",
            "service shop/shares.test at 192.0.2.50:443: passed through",
        ),
        (
            "a VIP within a network is no other's, whatever its ports",
            SHOP,
            "192.0.2.50:8080",
            "service shop/web port 8080 refused: the service has no such port",
        ),
        ("a network", SHOP, "192.0.2.7:8080", "service shop/wide.test at 192.0.2.7:8080: passed through"),
        (
            "a longer prefix first",
            SHOP,
            "192.0.2.130:8080",
            "service shop/narrow.test at 192.0.2.130:8080: passed through",
        ),
        (
            "the longer prefix lacks the port, the shorter has it",
            SHOP,
            "192.0.2.130:9090",
            "service shop/wide.test at 192.0.2.130:9090: passed through",
        ),
        (
            "no network has the port",
            SHOP,
            "192.0.2.7:22",
            "192.0.2.7:22 is neither a service nor a pod: passed through",
        ),
        (
            "a network has the port of a pod in it",
            SHOP,
            "192.0.2.200:8080",
            "pod shop/within at 192.0.2.200:8080 of service shop/narrow.test",
        ),
        (
            "a headless endpoint is more than a network",
            SHOP,
            "192.0.2.200:9090",
            "pod shop/within at 192.0.2.200:9090 of service shop/within",
        ),
        ("a pod in a network, another port", LOST, "192.0.2.200:22", "pod shop/within at 192.0.2.200:22"),
        (
            "a headless entry by its endpoint, which is no pod",
            LOST,
            "203.0.113.60:5432",
            "service shop/headless.test at 203.0.113.60:5432: passed through",
        ),
        (
            "the endpoint of a headless entry, another port",
            LOST,
            "203.0.113.60:22",
            "203.0.113.60:22 refused: no service has this address and port, and the outbound traffic policy is REGISTRY_ONLY",
        ),
        (
            "the port of every address",
            LOST,
            "203.0.113.99:9418",
            "service shop/any.test at 203.0.113.99:9418: passed through",
        ),
        (
            "the port of every address, of a pod",
            SHOP,
            "192.0.2.200:9418",
            "pod shop/within at 192.0.2.200:9418",
        ),
        (
            "nobody's, ALLOW_ANY",
            SHOP,
            "203.0.113.99:80",
            "203.0.113.99:80 is neither a service nor a pod: passed through",
        ),
        (
            "a mapped address",
            LOST,
            "[::ffff:203.0.113.20]:443",
            "service shop/none.test at 203.0.113.20:443: passed through",
        ),
        ("exported to no other namespace", other, "240.240.0.1:443", &format!("240.240.0.1:443 {BARRED}")),
        ("a network exported to no other", other, "192.0.2.7:8080", &format!("192.0.2.7:8080 {BARRED}")),
        (
            "a headless one exported to no other",
            other,
            "203.0.113.60:5432",
            &format!("203.0.113.60:5432 {BARRED}"),
        ),
        (
            "the port of every address, exported to no other",
            other,
            "203.0.113.99:9418",
            &format!("203.0.113.99:9418 {BARRED}"),
        ),
        (
            "exported to this one too",
            other,
            "203.0.113.30:81",
            "service shop/two.test at 203.0.113.30:81: passed through",
        ),
        (
            "the other of two that share an address is not exported",
            other,
            "203.0.113.30:80",
            "service shop/two.test at 203.0.113.30:80: passed through",
        ),
        ("nobody's, REGISTRY_ONLY", LOST, "203.0.113.99:80", &format!("203.0.113.99:80 {BARRED}")),
        ("a pod, REGISTRY_ONLY", LOST, "198.51.100.9:80", "pod shop/far at 198.51.100.9:80"),
    ] {
        let dst = OriginalDst(dialled.parse().unwrap());
        assert_eq!(resolve(&snapshot, client, dst).to_string(), expected, "{name}");
    }
}

#[test]
fn serializes_names_not_whole_objects() {
    let snapshot = cluster();
    let json = |dialled: &str| {
        serde_json::to_value(resolve(&snapshot, SHOP, OriginalDst(dialled.parse().unwrap()))).unwrap()
    };
    let refused = json("192.0.2.10:84");
    assert_eq!(refused["destination"], "refuse");
    assert_eq!(refused["service"]["name"], "web");
    assert_eq!(refused["because"], "no-endpoint");
    assert_eq!(json("198.51.100.4:5432")["pod"]["name"], "db-0");
    assert_eq!(json("192.0.2.10:80")["candidates"][0]["addr"], "198.51.100.1:8080");
    assert_eq!(json("203.0.113.9:443")["endpoint"], "203.0.113.9:443");
    assert_eq!(json("203.0.113.9:443")["service"], serde_json::Value::Null);

    let entries = registry();
    let dialled = |dialled: &str| OriginalDst(dialled.parse().unwrap());
    let names = serde_json::to_value(resolve(&entries, SHOP, dialled("240.240.0.2:443"))).unwrap();
    assert_eq!(
        (&names["service"]["name"], &names["names"][1]["host"]),
        (&"dns.test".into(), &"b.dns.test".into())
    );
    let lost = Client { outbound_policy: OutboundPolicy::RegistryOnly, ..SHOP };
    let barred = serde_json::to_value(resolve(&entries, lost, dialled("203.0.113.99:80"))).unwrap();
    assert_eq!(barred["dialled"], "203.0.113.99:80");
    assert_eq!(
        (&barred["service"], &barred["because"]),
        (&serde_json::Value::Null, &"not-registered".into())
    );
}

/// So the kernel may refuse it before anybody is asked.
#[test]
fn what_the_registry_does_not_know_is_refused_whatever_the_port_and_whoever_asks() {
    let snapshot = registry();
    let registered = snapshot.registered();
    let knows = |dialled: SocketAddr| {
        registered.iter().any(|one| match one {
            Registered::Addresses(network) => network.contains(dialled.ip()),
            Registered::Port(port) => *port == dialled.port(),
        })
    };
    let (mut known, mut unknown) = (0, 0);
    for ip in registered.iter().filter_map(|one| match one {
        Registered::Addresses(network) => Some(network.address()),
        Registered::Port(_) => None,
    }) {
        let beside = match ip {
            IpAddr::V4(v4) => IpAddr::from((v4.to_bits() ^ 1 << 8).to_be_bytes()),
            IpAddr::V6(v6) => IpAddr::from((v6.to_bits() ^ 1 << 64).to_be_bytes()),
        };
        for dialled in [80, 443, 5432, 9418].into_iter().flat_map(|port| [(ip, port), (beside, port)]) {
            let dialled = SocketAddr::from(dialled);
            if knows(dialled) {
                known += 1;
                continue;
            }
            unknown += 1;
            for namespace in ["shop", "other"] {
                let client = Client { namespace, outbound_policy: OutboundPolicy::RegistryOnly, ..SHOP };
                let resolution = resolve(&snapshot, client, OriginalDst(dialled));
                let is_refused =
                    matches!(resolution, Resolution::Refuse { because: Refusal::NotRegistered, .. });
                assert!(is_refused, "{namespace} to {dialled}: {resolution:?}");
            }
        }
    }
    assert!(40 < known && 20 < unknown, "{known} and {unknown}");
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

/// Services of which most are ServiceEntries, exported to their own namespace alone unless it says otherwise.
fn registry() -> Arc<Snapshot> {
    use EndpointState::Ready;
    let here = || Visibility::Namespaces(["shop".into()].into());
    let entry = |host: &str, discovery, ports: &[u16]| Service {
        discovery,
        visibility: here(),
        ports: ports.iter().map(|&number| port(number, &[])).collect(),
        ..Service::entry("shop", host)
    };
    let ips = |ips: &[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
    let named = |number, names: &[(&str, u16)]| ServicePort {
        names: names.iter().map(|&(host, port)| NamedEndpoint { host: host.into(), port }).collect(),
        ..port(number, &[])
    };
    let none = Discovery::AsDialled;
    SnapshotBuilder::new(1, "cluster.local")
        .pod(pod("within", "192.0.2.200", Uncaptured::NoLabel))
        .pod(pod("far", "198.51.100.9", Uncaptured::NoLabel))
        .service(Service {
            vips: ips(&["192.0.2.50"]),
            ports: vec![port(80, &[("198.51.100.1:8080", Ready, HERE)])],
            ..service("web")
        })
        .service(Service {
            discovery: none,
            ports: vec![port(9090, &[("192.0.2.200:9090", Ready, HERE)])],
            ..service("within")
        })
        .service(Service {
            allocated: ips(&["240.240.0.1"]),
            ports: vec![port(443, &[("203.0.113.7:8443", Ready, HERE)])],
            ..entry("static.test", Discovery::Endpoints, &[])
        })
        .service(Service {
            allocated: ips(&["240.240.0.2"]),
            ports: vec![named(443, &[("a.dns.test", 443), ("b.dns.test", 8443)]), named(80, &[])],
            ..entry("dns.test", Discovery::Dns, &[])
        })
        .service(Service {
            allocated: ips(&["240.240.0.3", "2001:2::3"]),
            ports: vec![named(443, &[("rr.test", 443)])],
            ..entry("rr.test", Discovery::DnsRoundRobin, &[])
        })
        .service(Service {
            allocated: ips(&["240.240.0.4"]),
            ..entry("*.test", Discovery::DynamicDns, &[443])
        })
        .service(Service { vips: ips(&["203.0.113.20"]), ..entry("none.test", none, &[443]) })
        .service(Service { vips: ips(&["203.0.113.30"]), ..entry("one.test", none, &[80]) })
        .service(Service {
            vips: ips(&["203.0.113.30"]),
            visibility: Visibility::Everywhere,
            ..entry("two.test", none, &[80, 81])
        })
        .service(Service { vips: ips(&["192.0.2.50"]), ..entry("shares.test", none, &[80, 443]) })
        .service(Service {
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            ..entry("wide.test", none, &[8080, 9090])
        })
        .service(Service {
            networks: vec!["192.0.2.128/25".parse().unwrap()],
            ..entry("narrow.test", none, &[8080])
        })
        .service(Service {
            ports: vec![port(5432, &[("203.0.113.60:5432", Ready, HERE)])],
            ..entry("headless.test", none, &[])
        })
        .service(entry("any.test", none, &[9418]))
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
        outbound_policy: OutboundPolicy::default(),
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
