use std::net::IpAddr;

use allocation::{AllocationConfig, Mode, Ranges, Record, istio_v1};
use jiff::Timestamp;
use model::{Allocation, Discovery, Location, ObjectName, Registry, Service, Visibility};

use super::{Applied, entry, entry_with, ip, objects, pod, pod_at, service};
use crate::{
    dns::DnsConfig,
    index::{Index, IndexConfig},
    kind::{Kind, ObjectKey},
};

const HTTPS: &str = "ports: [{number: 443, name: https, protocol: HTTPS}]";
const STATIC: &str =
    "ports: [{number: 443, name: https, protocol: TLS, targetPort: 8443}], resolution: STATIC";

/// `port: endpoints and names` of each port, `!` where one is not ready.
fn behind(service: &Service) -> String {
    use model::EndpointState::{NotReady, Ready, Terminating};
    let of_port = |port: &model::ServicePort| {
        let endpoints = port.endpoints.iter().map(|endpoint| match endpoint.state {
            Ready => endpoint.addr.to_string(),
            Terminating => format!("{} ending", endpoint.addr),
            NotReady => format!("{}!", endpoint.addr),
        });
        let names = port.names.iter().map(|name| format!("{}:{}", name.host, name.port));
        let all: Vec<_> = endpoints.chain(names).collect();
        format!("{}: {}", port.port, all.join(" ")).trim_end().to_owned()
    };
    service.ports.iter().map(of_port).collect::<Vec<_>>().join(", ")
}

/// What the index says at present, also of several objects together.
fn said(applied: &Applied) -> Vec<String> {
    applied.index.refusals().iter().map(ToString::to_string).collect()
}

#[test]
fn where_a_host_leads() {
    let endpoints = "endpoints: [{address: 192.0.2.1}, {address: '2001:db8::1', ports: {https: 9443}}]";
    for (name, spec, discovery, expected) in [
        ("none", HTTPS.to_owned(), Discovery::AsDialled, "443:"),
        (
            "static",
            format!("{STATIC}, {endpoints}"),
            Discovery::Endpoints,
            "443: 192.0.2.1:8443 [2001:db8::1]:9443",
        ),
        ("static without endpoints", STATIC.to_owned(), Discovery::Endpoints, "443:"),
        (
            "the same endpoint twice",
            format!("{STATIC}, endpoints: [{{address: 192.0.2.1}}, {{address: 192.0.2.1}}]"),
            Discovery::Endpoints,
            "443: 192.0.2.1:8443",
        ),
        ("dns", format!("{HTTPS}, resolution: DNS"), Discovery::Dns, "443: www.example.com:443"),
        (
            "dns by other names",
            format!("{HTTPS}, resolution: DNS_ROUND_ROBIN, endpoints: [{{address: EU.Example.com.}}]"),
            Discovery::DnsRoundRobin,
            "443: eu.example.com:443",
        ),
        (
            "dns by names and addresses",
            format!(
                "{HTTPS}, resolution: DNS, endpoints: [{{address: a.example.com, ports: {{https: 8443}}}}, \
                 {{address: 192.0.2.7}}]"
            ),
            Discovery::Dns,
            "443: a.example.com:8443 192.0.2.7:443",
        ),
        ("dynamic", format!("{HTTPS}, resolution: DYNAMIC_DNS"), Discovery::DynamicDns, "443:"),
        (
            "udp is passed over",
            "ports: [{number: 53, name: dns, protocol: UDP}, {number: 853, name: tls, protocol: tls}], \
             resolution: DNS"
                .to_owned(),
            Discovery::Dns,
            "853: www.example.com:853",
        ),
    ] {
        let applied = Applied::new(&entry("www", &format!("hosts: [WWW.Example.com.], {spec}"))).sound();
        let service = applied.service("www.example.com");
        assert_eq!((behind(&service), service.discovery), (expected.to_owned(), discovery), "{name}");
        assert_eq!((&*service.host, service.registry), ("www.example.com", Registry::ServiceEntry), "{name}");
    }
}

#[test]
fn weights_of_endpoints() {
    let endpoint = |ip: &str, rest: &str| format!("{{address: {ip}, {rest}}}");
    for (name, endpoints, expected) in [
        ("nobody says", vec![endpoint("192.0.2.1", ""), endpoint("192.0.2.2", "")], &[][..]),
        ("0 says nothing", vec![endpoint("192.0.2.1", "weight: 0")], &[]),
        (
            "some say",
            vec![endpoint("192.0.2.1", "weight: 3"), endpoint("192.0.2.2", "")],
            &[("192.0.2.1:8443", 3)],
        ),
        (
            "of a port of its own",
            vec![endpoint("192.0.2.1", "ports: {https: 9443}, weight: 4294967295")],
            &[("192.0.2.1:9443", u32::MAX)],
        ),
        (
            "what is not read is no fault",
            vec![
                endpoint(
                    "192.0.2.1",
                    "locality: [7], network: {}, labels: none, serviceAccount: 1, weight: 2",
                ),
                endpoint("192.0.2.2", "locality: us-east-1/a, network: n1, labels: {app: db}"),
            ],
            &[("192.0.2.1:8443", 2)],
        ),
    ] {
        let spec = format!("hosts: [www.example.com], {STATIC}, endpoints: [{}]", endpoints.join(", "));
        let service = Applied::new(&entry("www", &spec)).sound().service("www.example.com");
        let weights = service.ports[0].weights.iter().map(|(addr, weight)| (addr.to_string(), weight.get()));
        let expected: Vec<_> = expected.iter().map(|&(addr, weight)| (addr.to_owned(), weight)).collect();
        assert_eq!(weights.collect::<Vec<_>>(), expected, "{name}");
    }
}

#[test]
fn locations() {
    for (spec, expected) in [
        ("", Location::MeshExternal),
        ("location: MESH_EXTERNAL", Location::MeshExternal),
        ("location: MESH_INTERNAL", Location::MeshInternal),
    ] {
        let applied = Applied::new(&entry("www", &format!("hosts: [www.example.com], {spec}"))).sound();
        assert_eq!(applied.service("www.example.com").location, Some(expected), "{spec}");
    }
}

#[test]
fn pods_behind_a_host() {
    let labelled = |name: &str, ip: &str, rest: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: db}}}}, \
             status: {{podIP: {ip}, {rest}}}}}\n---\n"
        )
    };
    let pods = labelled("a", "192.0.2.1", "phase: Running")
        + &labelled("b", "192.0.2.2", "conditions: [{type: Ready, status: 'False'}]")
        + &labelled("c", "192.0.2.3", "phase: Succeeded")
        + &labelled("d", "''", "phase: Pending")
        + &pod_at("other", "192.0.2.5");
    let selector = "hosts: [db.internal], workloadSelector: {labels: {app: db}}";
    for (name, spec, discovery, expected) in [
        ("static", STATIC, Discovery::Endpoints, "443: 192.0.2.1:8443 192.0.2.2:8443!"),
        ("as dialled", HTTPS, Discovery::AsDialled, "443: 192.0.2.1:443 192.0.2.2:443!"),
    ] {
        let applied = Applied::new(&(pods.clone() + &entry("db", &format!("{selector}, {spec}")))).sound();
        let service = applied.service("db.internal");
        assert_eq!((behind(&service), service.discovery), (expected.to_owned(), discovery), "{name}");
        let first = service.ports[0].endpoints[0].pod.clone();
        assert_eq!(first.as_ref().map(model::PodUid::as_str), Some("default.a"), "{name}");
        let snapshot = applied.snapshot();
        let headless = snapshot.headless_service("192.0.2.1:443".parse().unwrap());
        assert_eq!(headless.is_some(), discovery == Discovery::AsDialled, "{name}");
    }
    let nobody = Applied::new(&entry("db", &format!("{selector}, {HTTPS}"))).sound();
    assert_eq!(nobody.snapshot().services_of_any_address(443).count(), 0, "what selects no pod is nowhere");
    let anywhere = Applied::new(&entry("any", &format!("hosts: [any.internal], {HTTPS}"))).sound();
    assert_eq!(anywhere.snapshot().services_of_any_address(443).count(), 1);
}

#[test]
fn what_may_be_dialled_for_a_host() {
    let applied = Applied::new(&entry(
        "www",
        &format!(
            "hosts: [a.example.com, '*.example.org', a.example.com], \
             addresses: [203.0.113.1, 198.51.100.77/24, '2001:db8::/32'], {HTTPS}, exportTo: ['.', bank]"
        ),
    ))
    .sound();
    for host in ["a.example.com", "*.example.org"] {
        let service = applied.service(host);
        assert_eq!(service.vips, [ip("203.0.113.1")]);
        let networks: Vec<_> = service.networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["198.51.100.0/24", "2001:db8::/32"]);
        assert_eq!(service.visibility, Visibility::Namespaces(["bank".into(), "default".into()].into()));
    }
    let snapshot = applied.snapshot();
    assert_eq!(snapshot.services_at(ip("198.51.100.9")).count(), 2);
    assert_eq!(snapshot.services_of_host("*.example.org").count(), 1);
}

#[test]
fn entries_that_make_no_sense() {
    let host = "hosts: [a.example.com]";
    for (spec, expected) in [
        (String::new(), "spec.hosts: is missing"),
        ("hosts: []".to_owned(), "spec.hosts: is missing"),
        (
            "hosts: ['*']".to_owned(),
            "spec.hosts[0]: stands for every name; say those below which domain, as *.example.com does",
        ),
        ("hosts: [a b]".to_owned(), "spec.hosts[0]: \"a b\" is not a name like www.example.com"),
        ("hosts: [7]".to_owned(), "spec.hosts[0]: invalid type: integer `7`, expected a string"),
        (format!("{host}, addresses: [bad]"), "spec.addresses[0]: \"bad\" is not an IP address"),
        (
            format!("{host}, addresses: [10.0.0.0/33]"),
            "spec.addresses[0]: \"10.0.0.0/33\" has more bits than the 32 of such an address",
        ),
        (
            format!("{host}, addresses: [10.0.0.0/8], resolution: DNS"),
            "spec.addresses[0]: 10.0.0.0/8 is a network, which only NONE and STATIC may have",
        ),
        (
            format!("{host}, resolution: MAGIC"),
            "spec.resolution: \"MAGIC\" is not one of NONE, STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS",
        ),
        (
            format!("{host}, ports: [{{number: 0, name: a}}]"),
            "spec.ports[0].number: 0 is not a port, 1 to 65535",
        ),
        (
            format!("{host}, ports: [{{number: 1, name: a}}, {{number: 1, name: b}}]"),
            "spec.ports[1].number: 1 is also that of spec.ports[0]",
        ),
        (
            format!("{host}, ports: [{{number: 1, name: a, protocol: QUIC}}]"),
            "spec.ports[0].protocol: \"QUIC\" is not one of TCP, HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TLS, MONGO, \
             REDIS, MYSQL, THRIFT, UDP",
        ),
        (
            format!("{host}, {STATIC}, endpoints: [{{address: 'unix:///run/a'}}]"),
            "spec.endpoints[0].address: unix:///run/a is a socket in one pod, which a proxy for all cannot reach",
        ),
        (
            format!("{host}, {STATIC}, endpoints: [{{address: a.example.com}}]"),
            "spec.endpoints[0].address: \"a.example.com\" is not an IP address",
        ),
        (
            format!("{host}, {STATIC}, endpoints: [{{address: 192.0.2.1, ports: {{http: 80}}}}]"),
            "spec.endpoints[0].ports: \"http\" is the name of none of spec.ports",
        ),
        (
            format!("{host}, {HTTPS}, endpoints: [{{address: 192.0.2.1}}]"),
            "spec.endpoints: are never dialled, for the resolution is NONE or DYNAMIC_DNS",
        ),
        (
            "hosts: ['*.example.com'], resolution: DNS".to_owned(),
            "spec.hosts[0]: *.example.com cannot be looked up: give endpoints, or DYNAMIC_DNS",
        ),
        (
            format!("{host}, {STATIC}, workloadSelector: {{}}"),
            "spec.workloadSelector.labels: is missing: it would select every pod",
        ),
        (
            format!(
                "{host}, {STATIC}, workloadSelector: {{labels: {{a: b}}}}, endpoints: [{{address: 192.0.2.1}}]"
            ),
            "spec.workloadSelector: stands beside spec.endpoints",
        ),
        (
            format!("{host}, resolution: DNS, workloadSelector: {{labels: {{a: b}}}}"),
            "spec.workloadSelector: selects pods, whose addresses are known; the resolution must be STATIC or NONE",
        ),
        (
            format!("{host}, location: NOWHERE"),
            "spec.location: \"NOWHERE\" is not one of MESH_EXTERNAL, MESH_INTERNAL",
        ),
        (
            format!("{host}, {STATIC}, endpoints: [{{address: 192.0.2.1, weight: -1}}]"),
            "spec.endpoints[0].weight: invalid value: integer `-1`, expected u32",
        ),
        (
            format!("{host}, exportTo: [Bank]"),
            "spec.exportTo: \"Bank\" is not one of ., *, ~ and the name of a namespace",
        ),
    ] {
        let good = Applied::new(&entry("www", "hosts: [good.example.com]")).sound();
        let applied = good.and(&entry("www", &spec));
        assert_eq!(applied.refusal(), format!("ServiceEntry default/www: {expected}"), "{spec}");
        assert_eq!(
            &*applied.service("good.example.com").host,
            "good.example.com",
            "{spec}: the last good one"
        );
    }
}

#[test]
fn several_entries_of_one_host() {
    let host = "hosts: [www.example.com]";
    let old = "creationTimestamp: '2020-01-01T00:00:00Z'";
    let new = "creationTimestamp: '2021-01-01T00:00:00Z'";
    let https = |ip: &str| format!("{host}, addresses: [{ip}], {STATIC}, endpoints: [{{address: {ip}}}]");
    let http = format!(
        "{host}, addresses: [203.0.113.3], ports: [{{number: 80, name: http}}], resolution: STATIC, \
         endpoints: [{{address: 203.0.113.3}}]"
    );
    for (name, first, second, addresses, expected, objections) in [
        (
            "different ports",
            entry_with("a", new, &https("203.0.113.1")),
            entry_with("b", old, &http),
            &["203.0.113.3", "203.0.113.1"][..],
            "80: 203.0.113.3:80, 443: 203.0.113.1:8443",
            &[][..],
        ),
        (
            "the oldest wins a port",
            entry_with("a", new, &https("203.0.113.1")),
            entry_with("b", old, &https("203.0.113.2")),
            &["203.0.113.2", "203.0.113.1"],
            "443: 203.0.113.2:8443",
            &[
                "ServiceEntry default/a: spec.ports[0]: 443 of www.example.com is already that of ServiceEntry \
               default/b; that holds",
            ],
        ),
        (
            "as old, by name",
            entry_with("b", old, &https("203.0.113.2")),
            entry_with("a", old, &https("203.0.113.1")),
            &["203.0.113.1", "203.0.113.2"],
            "443: 203.0.113.1:8443",
            &[
                "ServiceEntry default/b: spec.ports[0]: 443 of www.example.com is already that of ServiceEntry \
               default/a; that holds",
            ],
        ),
        (
            "twice the same",
            entry("a", &https("203.0.113.1")),
            entry("b", &https("203.0.113.1")),
            &["203.0.113.1"],
            "443: 203.0.113.1:8443",
            &[],
        ),
        (
            "another resolution",
            entry("a", &https("203.0.113.1")),
            entry("b", &format!("{host}, addresses: [203.0.113.9], resolution: DNS")),
            &["203.0.113.1"],
            "443: 203.0.113.1:8443",
            &[
                "ServiceEntry default/b: spec.resolution: differs from that of ServiceEntry default/a, which has \
               www.example.com, too; here that host is left out",
            ],
        ),
        (
            "another location",
            entry("a", &https("203.0.113.1")),
            entry("b", &format!("{http}, location: MESH_INTERNAL")),
            &["203.0.113.1", "203.0.113.3"],
            "443: 203.0.113.1:8443, 80: 203.0.113.3:80",
            &[
                "ServiceEntry default/b: spec.location: differs from that of ServiceEntry default/a, which has \
               www.example.com, too; that holds",
            ],
        ),
        (
            "other namespaces",
            entry("a", &format!("{}, exportTo: ['.']", https("203.0.113.1"))),
            entry("b", &http),
            &["203.0.113.1", "203.0.113.3"],
            "443: 203.0.113.1:8443, 80: 203.0.113.3:80",
            &[
                "ServiceEntry default/b: spec.exportTo: differs from that of ServiceEntry default/a, which has \
               www.example.com, too; that holds",
            ],
        ),
    ] {
        let applied = Applied::new(&(first + &second));
        let service = applied.service("www.example.com");
        assert_eq!(service.vips, addresses.iter().map(|a| ip(a)).collect::<Vec<_>>(), "{name}");
        assert_eq!(behind(&service), expected, "{name}");
        assert_eq!(said(&applied), objections, "{name}");
    }
}

#[test]
fn an_address_that_is_anothers_is_left_out() {
    let entry = |name: &str| {
        entry(name, &format!("hosts: [{name}.example.com], addresses: [203.0.113.1, 192.0.2.1], {HTTPS}"))
    };
    for (name, other, holder) in [
        ("of a service", service("cart", "clusterIP: 192.0.2.1"), "Service default/cart"),
        ("of a pod", pod("cart", "status: {podIP: 192.0.2.1}"), "Pod default/cart"),
    ] {
        // Whichever comes first.
        for yaml in [other.clone() + &entry("a"), entry("a") + &other] {
            let applied = Applied::new(&yaml).sound();
            assert_eq!(applied.service("a.example.com").vips, [ip("203.0.113.1")], "{name}");
            let reason = format!("address 192.0.2.1 is already that of {holder}; it is left out");
            let said = said(&applied);
            assert_eq!(said, [format!("ServiceEntry default/a: spec.addresses[1]: {reason}")], "{name}");
        }
    }
    let both = Applied::new(&(entry("a") + &entry("b"))).sound();
    assert_eq!(both.snapshot().services_at(ip("192.0.2.1")).count(), 2, "entries may share one");
    assert_eq!(said(&both), [""; 0]);
}

#[test]
fn a_host_that_is_called_like_a_service_is_left_out() {
    let yaml = service("cart", "clusterIP: 192.0.2.1") + &entry("a", &format!("hosts: [cart], {HTTPS}"));
    let applied = Applied::new(&yaml).sound();
    assert_eq!(applied.service("cart").registry, Registry::Kubernetes);
    let expected = "spec.hosts[0]: cart is the name of Service default/cart; it is left out";
    assert_eq!(said(&applied), [format!("ServiceEntry default/a: {expected}")]);
}

#[test]
fn addresses_that_are_recorded_in_the_status() {
    let status = |spec: &str, status: &str| {
        format!("hosts: [a.example.com], {spec}}}, status: {{addresses: [{status}]")
    };
    let recorded = "{value: 240.240.0.7, host: a.example.com}, {value: '2001:2::7', host: A.example.com.}";
    for (name, metadata, spec, written, expected, objections) in [
        ("adopted", "", "resolution: DNS", recorded, &["240.240.0.7", "2001:2::7"][..], &[][..]),
        ("of another host", "", "resolution: DNS", "{value: 240.240.0.7, host: b.example.com}", &[], &[]),
        ("not eligible", "", "resolution: NONE", recorded, &[], &[]),
        (
            "not wanted",
            "labels: {networking.istio.io/enable-autoallocate-ip: 'False'}",
            "resolution: DNS",
            recorded,
            &[],
            &[],
        ),
        (
            "no address",
            "",
            "resolution: DNS",
            "{value: bad, host: a.example.com}, {value: 240.240.0.8}",
            &[],
            &[
                "status.addresses[0].value: \"bad\" is not an IP address; it is left out",
                "status.addresses[1].host: \"\" is not a name like www.example.com; it is left out",
            ],
        ),
        (
            "a pod's",
            "",
            "resolution: DNS",
            "{value: 192.0.2.1, host: a.example.com}",
            &[],
            &[
                "status.addresses[0].value: address 192.0.2.1 is already that of Pod default/p; it is left out",
            ],
        ),
        (
            "another's by its spec",
            "",
            "resolution: DNS",
            "{value: 203.0.113.9, host: a.example.com}",
            &[],
            &[
                "status.addresses[0].value: address 203.0.113.9 is already that of ServiceEntry default/z; it is left \
               out",
            ],
        ),
        (
            "another's by its status",
            "creationTimestamp: '2021-01-01T00:00:00Z'",
            "resolution: DNS",
            "{value: 240.240.9.9, host: a.example.com}",
            &[],
            &[
                "status.addresses[0].value: address 240.240.9.9 is already that of host default/q.example.com; it is \
               left out",
            ],
        ),
    ] {
        let others = pod_at("p", "192.0.2.1")
            + &entry("z", "hosts: [z.example.com], addresses: [203.0.113.9]")
            + &entry(
                "q",
                "hosts: [q.example.com], resolution: DNS}, status: {addresses: [{value: 240.240.9.9, host: \
                 q.example.com}]",
            );
        let applied = Applied::new(&(others + &entry_with("a", metadata, &status(spec, written))));
        let expected: Vec<_> = expected.iter().map(|address| ip(address)).collect();
        assert_eq!(applied.service("a.example.com").allocated, expected, "{name}");
        let objections: Vec<_> = objections.iter().map(|o| format!("ServiceEntry default/a: {o}")).collect();
        assert_eq!(said(&applied), objections, "{name}");
    }
}

/// `host addresses, origin` of each allocation; of those that are gone since when.
fn allocations(applied: &Applied) -> Vec<String> {
    let of = |allocation: &Allocation| {
        let Allocation { host, addresses, origin, freed } = allocation;
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let freed = freed.as_ref().map(|freed| format!(", freed {freed}")).unwrap_or_default();
        format!("{} {}, {origin:?}{freed}", host.name, addresses.join(" "))
    };
    applied.snapshot().allocations().iter().map(of).collect()
}

#[test]
fn which_hosts_are_given_addresses() {
    for (name, metadata, spec, expected) in [
        ("by DNS", "", "resolution: DNS", true),
        ("static", "", "resolution: STATIC, endpoints: [{address: 192.0.2.1}]", true),
        ("as dialled", "", "resolution: NONE", false),
        ("with an address", "", "resolution: DNS, addresses: [203.0.113.1]", false),
        ("with a network", "", "resolution: STATIC, addresses: [203.0.113.0/24]", false),
        (
            "by a label",
            "labels: {networking.istio.io/enable-autoallocate-ip: 'true'}",
            "resolution: DNS",
            true,
        ),
        (
            "not by a label",
            "labels: {networking.istio.io/enable-autoallocate-ip: 'FALSE'}",
            "resolution: DNS",
            false,
        ),
    ] {
        let yaml = entry_with("a", metadata, &format!("hosts: [a.example.com], {spec}"));
        let demand = Applied::new(&yaml).sound().index.demand();
        assert_eq!(!demand.hosts.is_empty(), expected, "{name}");
    }
    for (resolution, expected) in [("STATIC", false), ("DYNAMIC_DNS", true)] {
        let yaml = entry("a", &format!("hosts: ['*.example.com'], resolution: {resolution}"));
        assert_eq!(!Applied::new(&yaml).sound().index.demand().hosts.is_empty(), expected, "{resolution}");
    }
    let twice = entry("a", "hosts: [a.example.com], resolution: DNS")
        + &entry("b", "hosts: [a.example.com], resolution: DNS, addresses: [203.0.113.1]");
    assert!(Applied::new(&twice).index.demand().hosts.is_empty(), "another entry has an address for it");
}

#[test]
fn addresses_are_in_force_once_they_are_recorded() {
    let (now, later) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap());
    let config = AllocationConfig::default();
    let (a, b) = (
        entry("a", "hosts: [a.example.com], resolution: DNS"),
        entry("b", "hosts: [b.example.com], resolution: DNS"),
    );
    let status = "hosts: [s.example.com], resolution: DNS}, status: {addresses: [{value: 240.240.3.3, host: \
                  s.example.com}]";
    let mut applied = Applied::new(&(a + &b + &entry("s", status))).sound();
    assert_eq!(allocations(&applied), ["s.example.com 240.240.3.3, Status"]);
    assert!(applied.service("a.example.com").allocated.is_empty());

    let demand = applied.index.demand();
    let taken: Vec<_> = demand.taken.addresses.keys().map(ToString::to_string).collect();
    assert_eq!(taken, ["240.240.3.3"], "what a status says is nobody else's");
    let first = Record::default().reconcile(&demand, &config, now);
    applied.index.allocate(first.clone());
    let own = |host: &str| first.addresses[&ObjectName::new("default", host)].clone();
    for host in ["a.example.com", "b.example.com"] {
        assert_eq!(applied.service(host).allocated, own(host), "{host}");
    }
    let text = |host: &str| own(host).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let recorded = |host: &str| format!("{host} {}, Recorded", text(host));
    let status = || "s.example.com 240.240.3.3, Status".to_owned();
    assert_eq!(allocations(&applied), [recorded("a.example.com"), recorded("b.example.com"), status()]);

    applied.index.delete(&ObjectKey::new(Kind::ServiceEntry, None, "a"));
    let second = first.record.reconcile(&applied.index.demand(), &config, later);
    applied.index.allocate(second);
    let gone = format!("a.example.com {}, Recorded, freed 1970-01-01T00:01:00Z", own("a.example.com")[0]);
    assert_eq!(allocations(&applied), [gone, recorded("b.example.com"), status()]);
}

#[test]
fn networks_of_which_services_are_given_addresses() {
    let cidr = |spec: &str| {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {{name: more}}, spec: {{{spec}}}}}\n---\n"
        )
    };
    let services = |applied: &Applied| {
        let services = applied.index.demand().taken.services;
        services.iter().map(|(network, holder)| format!("{network} of {holder}")).collect::<Vec<_>>()
    };
    let applied = Applied::new(&cidr("cidrs: [240.240.7.0/24, 'fd00::/112']")).sound();
    let both = ["240.240.7.0/24 of ServiceCIDR more", "fd00::/112 of ServiceCIDR more"];
    assert_eq!(services(&applied), both);
    assert_eq!(services(&Applied::new(&cidr(""))), [""; 0]);
    let applied = applied.and(&cidr("cidrs: [240.240.7.0]"));
    let reason = "\"240.240.7.0\" has no prefix length: 240.240.7.0/32 is that one address";
    assert_eq!(applied.refusal(), format!("ServiceCIDR more: spec.cidrs[0]: {reason}"));
    assert_eq!(services(&applied), both, "the last good one");
}

#[test]
fn a_host_for_which_no_ipv4_address_is_left_has_its_ipv6_address() {
    let ranges = Ranges::new("240.0.0.0/30".parse().unwrap(), "2001:2::/48".parse().unwrap()).unwrap();
    let config = AllocationConfig { ranges, ..AllocationConfig::default() };
    let hosts =
        ["a", "b", "c"].map(|host| entry(host, &format!("hosts: [{host}.example.com], resolution: DNS")));
    let mut applied = Applied::new(&hosts.concat()).sound();
    let given = Record::default().reconcile(&applied.index.demand(), &config, Timestamp::UNIX_EPOCH);
    applied.index.allocate(given.clone());
    let addresses = &given.addresses[&ObjectName::new("default", "c.example.com")];
    assert_eq!(applied.service("c.example.com").allocated, *addresses);
    let all = allocations(&applied);
    let [.., last] = &all[..] else { panic!("none") };
    assert_eq!((all.len(), &**last), (3, &*format!("c.example.com {}, Hash", addresses[0])));
    assert!(matches!(addresses[..], [IpAddr::V6(_)]));
}

#[test]
fn as_istiod_gave_them_before_it_kept_records() {
    let allocation = AllocationConfig { mode: Mode::IstioV1, ..AllocationConfig::default() };
    let dns = DnsConfig { allocation, ..DnsConfig::default() };
    let mut index = Index::new(IndexConfig { dns, ..IndexConfig::default() });
    let aged = |name: &str, host: &str, year: u16| {
        let spec = format!("hosts: ['*.example.org', {host}], resolution: STATIC");
        entry_with(name, &format!("creationTimestamp: '{year}-01-01T00:00:00Z'"), &spec)
    };
    let two = aged("x", "a44155.example.com", 2021) + &aged("z", "a17061.example.com", 2020);
    index.reset(&objects(&two.replace("metadata: {", "metadata: {namespace: a, ")));
    let applied = Applied { index, refusals: Vec::new() };
    let snapshot = applied.snapshot();
    let of = |host: &str| snapshot.service(&ObjectName::new("a", host)).unwrap().allocated.clone();
    assert!(of("*.example.org").is_empty());
    for host in ["a17061.example.com", "a44155.example.com"] {
        let name = ObjectName::new("a", host);
        assert_eq!(of(host), istio_v1::allocate([&name])[&name], "{host}");
    }
    assert_eq!(snapshot.allocations().len(), 2);
}
