use model::{Endpoint, EndpointState};

use super::{Applied, pod, pod_at, service, slice, uid};
use crate::kind::Kind;

const CART: &str = "clusterIP: 192.0.2.100, ports: [{port: 80, targetPort: 8080}]";
const WEB: &str = "ports: [{name: http, port: 80}, {name: admin, port: 81}]";

fn endpoints(applied: &Applied, port: u16) -> Vec<String> {
    let service = applied.service("cart");
    let print = |e: &Endpoint| format!("{} {:?}", e.addr, e.state);
    service.port(port).unwrap().endpoints.iter().map(print).collect()
}

fn v4(endpoints: &str, ports: &str) -> String {
    format!("addressType: IPv4, endpoints: [{endpoints}], ports: [{ports}]")
}

#[test]
fn conditions_decide_the_state() {
    for (conditions, state) in [
        ("", EndpointState::Ready),
        ("conditions: {}", EndpointState::Ready),
        ("conditions: {ready: null, serving: null, terminating: null}", EndpointState::Ready),
        ("conditions: {ready: true, serving: true, terminating: false}", EndpointState::Ready),
        // publishNotReadyAddresses
        ("conditions: {ready: true, serving: false}", EndpointState::Ready),
        ("conditions: {ready: false}", EndpointState::NotReady),
        ("conditions: {ready: false, serving: true}", EndpointState::NotReady),
        ("conditions: {ready: false, serving: true, terminating: true}", EndpointState::Terminating),
        ("conditions: {ready: false, serving: false, terminating: true}", EndpointState::NotReady),
        ("conditions: {ready: false, terminating: true}", EndpointState::NotReady),
        ("conditions: {ready: true, terminating: true}", EndpointState::Terminating),
        ("conditions: {terminating: true}", EndpointState::Terminating),
    ] {
        let rest = v4(&format!("{{addresses: [192.0.2.1], {conditions}}}"), "{port: 8080}");
        let applied = Applied::new(&(service("cart", CART) + &slice("cart-1", &rest))).sound();
        assert_eq!(applied.service("cart").ports[0].endpoints[0].state, state, "{conditions}");
    }
}

#[test]
fn ports_meet_by_name() {
    let applied = Applied::new(&service("cart", WEB))
        .and(&slice(
            "b",
            &v4("{addresses: [192.0.2.2]}", "{name: http, port: 8080}, {name: dns, port: 53, protocol: UDP}"),
        ))
        .and(&slice("a", &v4("{addresses: [192.0.2.1]}", "{name: http, port: 9090}, {name: admin, port: 1}")))
        .sound();
    assert_eq!(endpoints(&applied, 80), ["192.0.2.1:9090 Ready", "192.0.2.2:8080 Ready"]);
    assert_eq!(endpoints(&applied, 81), ["192.0.2.1:1 Ready"]);
}

#[test]
fn a_slice_may_say_all_ports() {
    for (service_port, number) in
        [("{port: 80, targetPort: 8080}", 8080), ("{port: 80}", 80), ("{port: 80, targetPort: http}", 80)]
    {
        let applied = Applied::new(&service("cart", &format!("ports: [{service_port}]")))
            .and(&slice("a", &v4("{addresses: [192.0.2.1]}", "{protocol: TCP}")))
            .sound();
        assert_eq!(endpoints(&applied, 80), [format!("192.0.2.1:{number} Ready")], "{service_port}");
    }
    let none = Applied::new(&service("cart", CART)).and(&slice("a", &v4("{addresses: [192.0.2.1]}", "")));
    assert!(endpoints(&none, 80).is_empty(), "no port is not all ports");
}

#[test]
fn an_endpoint_in_two_slices_counts_once_in_its_best_state() {
    let stale = "{addresses: [192.0.2.1], conditions: {ready: false}}";
    let fresh = "{addresses: [192.0.2.1], nodeName: a}";
    let applied = Applied::new(&service("cart", CART))
        .and(&slice("a", &v4(stale, "{port: 8080}")))
        .and(&slice("b", &v4(fresh, "{port: 8080}")))
        .and(&slice(
            "c",
            "addressType: IPv6, endpoints: [{addresses: ['2001:db8::1']}], ports: [{port: 8080}]",
        ))
        .sound();
    assert_eq!(endpoints(&applied, 80), ["192.0.2.1:8080 Ready", "[2001:db8::1]:8080 Ready"]);
    assert_eq!(applied.service("cart").ports[0].endpoints[0].node.as_deref(), Some("a"));

    let applied = applied.without(Kind::EndpointSlice, "b");
    assert_eq!(endpoints(&applied, 80), ["192.0.2.1:8080 NotReady", "[2001:db8::1]:8080 Ready"]);
}

#[test]
fn the_pod_behind_an_endpoint() {
    let pods = pod_at("cart-0", "192.0.2.1")
        + &pod_at("cart-1", "192.0.2.2")
        + &pod("cart-2", "spec: {nodeName: b}")
        + &pod("host", "spec: {hostNetwork: true, nodeName: a}, status: {podIP: 192.0.2.9}");
    for (name, endpoint, pod, node) in [
        ("by address", "addresses: [192.0.2.1]", Some("default.cart-0"), None),
        (
            "by name",
            "addresses: [192.0.2.3], targetRef: {kind: Pod, name: cart-2}",
            Some("default.cart-2"),
            Some("b"),
        ),
        (
            "by UID",
            "addresses: [192.0.2.9], nodeName: a, targetRef: {kind: Pod, name: x, uid: default.host}",
            Some("default.host"),
            Some("a"),
        ),
        ("host network has no address of its own", "addresses: [192.0.2.9]", None, None),
        (
            "an unknown UID: another pod of that name",
            "addresses: [192.0.2.3], targetRef: {kind: Pod, name: cart-2, uid: gone}",
            None,
            None,
        ),
        (
            "the address decides between two pods",
            "addresses: [192.0.2.2], targetRef: {kind: Pod, name: cart-0}",
            Some("default.cart-1"),
            None,
        ),
        (
            "another kind",
            "addresses: [192.0.2.3], targetRef: {kind: VirtualMachine, name: cart-2}",
            None,
            None,
        ),
    ] {
        let applied = Applied::new(&pods)
            .and(&service("cart", CART))
            .and(&slice("a", &v4(&format!("{{{endpoint}}}"), "{port: 8080}")))
            .sound();
        let got = &applied.service("cart").ports[0].endpoints[0];
        assert_eq!(got.pod, pod.map(uid), "{name}");
        assert_eq!(got.node.as_deref(), node, "{name}");
    }
}

#[test]
fn a_slice_of_no_service_or_another_namespace_is_of_no_use() {
    let elsewhere = slice("a", &v4("{addresses: [192.0.2.1]}", "{port: 8080}"))
        .replace("name: a,", "name: a, namespace: shop,");
    let orphan = slice("b", &v4("{addresses: [192.0.2.1]}", "{port: 8080}")).replace("service-name", "other");
    let names =
        slice("c", "addressType: FQDN, endpoints: [{addresses: [www.example.com]}], ports: [{port: 8080}]");
    let applied = Applied::new(&(service("cart", CART) + &elsewhere + &orphan + &names)).sound();
    assert!(endpoints(&applied, 80).is_empty());
}

#[test]
fn what_makes_no_sense_names_the_field() {
    for (rest, refusal) in [
        ("addressType: ipv4", "addressType: \"ipv4\" is not one of IPv4, IPv6, FQDN"),
        ("endpoints: []", "addressType: \"\" is not one of IPv4, IPv6, FQDN"),
        (&v4("{addresses: [192.0.2.1]}, {addresses: []}", ""), "endpoints[1].addresses[0]: is missing"),
        (
            &v4("{addresses: ['2001:db8::1']}", ""),
            "endpoints[0].addresses[0]: 2001:db8::1 is not of the family that addressType says",
        ),
        (
            &v4("{addresses: [www.example.com]}", ""),
            "endpoints[0].addresses[0]: \"www.example.com\" is not an IP address",
        ),
        (&v4("", "{port: 70000}"), "ports[0].port: 70000 is not a port, 1 to 65535"),
        (&v4("", "{port: 80, protocol: tcp}"), "ports[0].protocol: \"tcp\" is not one of TCP, UDP, SCTP"),
        (&v4("", "{port: 80}, {port: 81}"), "ports[1].name: \"\" is also that of another port"),
    ] {
        assert_eq!(Applied::new(&slice("a", rest)).refusal(), format!("EndpointSlice default/a: {refusal}"));
    }
}

#[test]
fn endpoints_with_names_of_their_own() {
    let headless = service("cart", "clusterIP: None, ports: [{port: 80}]");
    let named =
        |hostname: &str| v4(&format!("{{addresses: [192.0.2.1], hostname: {hostname}}}"), "{port: 80}");
    let applied = Applied::new(&(headless.clone() + &slice("cart-1", &named("Cart-0")))).sound();
    let snapshot = applied.snapshot();
    let (service, ips) = snapshot.endpoints_of_host("cart-0.cart.default.svc.cluster.local").unwrap();
    assert_eq!((&*service.name.name, ips), ("cart", &["192.0.2.1".parse().unwrap()][..]));
    let applied = Applied::new(&(headless + &slice("cart-1", &named("a.b"))));
    let expected =
        "EndpointSlice default/cart-1: endpoints[0].hostname: \"a.b\" is more than one part of a name";
    assert_eq!(applied.refusal(), expected);
}
