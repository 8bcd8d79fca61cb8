use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::derive;
use crate::{manifest, object::Object};

const CART: &str = "clusterIP: 192.0.2.100, selector: {app: cart}, ports: [{port: 80, targetPort: http}]";

fn service(spec: &str) -> String {
    format!("{{apiVersion: v1, kind: Service, metadata: {{name: cart}}, spec: {{{spec}}}}}\n---\n")
}

fn pod(name: &str, spec: &str, status: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{app: cart, x: z}}}}, \
         spec: {{{spec}}}, status: {{{status}}}}}\n---\n"
    )
}

fn container(port: u16) -> String {
    format!("containers: [{{name: c, ports: [{{name: http, containerPort: {port}}}]}}]")
}

fn slices(yaml: &str) -> Vec<EndpointSlice> {
    let objects: Vec<Object> = manifest::parse(yaml).into_iter().map(|r| r.unwrap().object).collect();
    let slice = |object| match object {
        Object::EndpointSlice(slice) => *slice,
        other => panic!("not a slice: {other:?}"),
    };
    derive(&objects).into_iter().map(slice).collect()
}

/// `name addresses -> port=number …`, one line each.
fn derived(yaml: &str) -> Vec<String> {
    let print = |slice: EndpointSlice| {
        let addresses: Vec<_> = slice.endpoints.iter().map(|e| e.addresses[0].clone()).collect();
        let port = |p: k8s_openapi::api::discovery::v1::EndpointPort| {
            format!("{}={}", p.name.unwrap_or_default(), p.port.unwrap_or_default())
        };
        let ports: Vec<_> = slice.ports.into_iter().flatten().map(port).collect();
        let name = slice.metadata.name.unwrap_or_default();
        format!("{name} {} {} -> {}", slice.address_type, addresses.join(","), ports.join(","))
    };
    slices(yaml).into_iter().map(print).collect()
}

#[test]
fn which_pods_and_which_ports() {
    let v4 = "podIP: 192.0.2.1";
    for (name, yaml, expected) in [
        (
            "a port by name, which each pod may number as it likes",
            service(CART)
                + &pod("a", &container(8080), v4)
                + &pod("b", &container(9090), "podIP: 192.0.2.2")
                + &pod("c", &container(8080), "podIP: 192.0.2.3"),
            &["cart.derived-1 IPv4 192.0.2.1,192.0.2.3 -> =8080", "cart.derived-2 IPv4 192.0.2.2 -> =9090"][..],
        ),
        ("a pod without that port", service(CART) + &pod("a", "", v4), &[]),
        (
            "a port by number needs no container",
            service(
                "selector: {app: cart}, ports: [{name: a, port: 80, targetPort: 8080}, {name: b, port: 81}]",
            ) + &pod("a", "", v4),
            &["cart.derived-1 IPv4 192.0.2.1 -> a=8080,b=81"],
        ),
        (
            "the port of a sidecar container",
            service(CART)
                + &pod(
                    "a",
                    "initContainers: [{name: i, ports: [{name: http, containerPort: 1}]}, \
                     {name: s, restartPolicy: Always, ports: [{name: http, containerPort: 2}]}]",
                    v4,
                ),
            &["cart.derived-1 IPv4 192.0.2.1 -> =2"],
        ),
        (
            "a named port is TCP too",
            service(CART)
                + &pod(
                    "a",
                    "containers: [{name: c, ports: [{name: http, containerPort: 1, protocol: UDP}]}]",
                    v4,
                ),
            &[],
        ),
        (
            "UDP ports are left out",
            service("selector: {app: cart}, ports: [{name: u, port: 53, protocol: UDP}]") + &pod("a", "", v4),
            &[],
        ),
        (
            "both families",
            service("clusterIP: None, selector: {app: cart}, ports: [{port: 80}]")
                + &pod("a", "", "podIPs: [{ip: 192.0.2.1}, {ip: '2001:db8::1'}]"),
            &["cart.derived-1 IPv4 192.0.2.1 -> =80", "cart.derived-2 IPv6 2001:db8::1 -> =80"],
        ),
        (
            "the family of the VIP",
            service("clusterIP: '2001:db8::100', selector: {app: cart}, ports: [{port: 80}]")
                + &pod("a", "", "podIPs: [{ip: 192.0.2.1}, {ip: '2001:db8::1'}]"),
            &["cart.derived-1 IPv6 2001:db8::1 -> =80"],
        ),
        (
            "the families that the service asks for",
            service("clusterIP: None, ipFamilies: [IPv4], selector: {app: cart}, ports: [{port: 80}]")
                + &pod("a", "", "podIPs: [{ip: 192.0.2.1}, {ip: '2001:db8::1'}]"),
            &["cart.derived-1 IPv4 192.0.2.1 -> =80"],
        ),
        (
            "all labels must match",
            service("selector: {app: cart, tier: back}, ports: [{port: 80}]") + &pod("a", "", v4),
            &[],
        ),
        ("no selector", service("ports: [{port: 80}]") + &pod("a", "", v4), &[]),
        ("an empty selector", service("selector: {}, ports: [{port: 80}]") + &pod("a", "", v4), &[]),
        (
            "only a name in DNS",
            service("type: ExternalName, selector: {app: cart}, ports: [{port: 80}]") + &pod("a", "", v4),
            &[],
        ),
        (
            "a pod that has finished",
            service(CART) + &pod("a", &container(1), "podIP: 192.0.2.1, phase: Failed"),
            &[],
        ),
        ("a pod without address", service(CART) + &pod("a", &container(1), ""), &[]),
        (
            "another namespace",
            service(CART) + &pod("a", &container(1), v4).replace("name: a,", "name: a, namespace: shop,"),
            &[],
        ),
        (
            "a slice that somebody wrote",
            service(CART)
                + &pod("a", &container(1), v4)
                + "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
                   metadata: {name: mine, labels: {kubernetes.io/service-name: cart}}}",
            &[],
        ),
    ] {
        assert_eq!(derived(&yaml), expected, "{name}");
    }
}

#[test]
fn conditions() {
    for (name, status, metadata, spec, ready, serving, terminating) in [
        ("nothing said", "", "", "", true, true, false),
        ("running", "phase: Running", "", "", true, true, false),
        ("pending", "phase: Pending", "", "", false, false, false),
        ("ready", "phase: Running, conditions: [{type: Ready, status: 'True'}]", "", "", true, true, false),
        (
            "not ready",
            "phase: Running, conditions: [{type: Ready, status: 'False'}]",
            "",
            "",
            false,
            false,
            false,
        ),
        ("terminating", "", "deletionTimestamp: '2026-01-01T00:00:00Z'", "", false, true, true),
        ("published anyway", "phase: Pending", "", "publishNotReadyAddresses: true", true, false, false),
    ] {
        let yaml = service(&format!("selector: {{app: cart}}, ports: [{{port: 80}}], {spec}"))
            + &pod("a", "nodeName: node-a", &format!("podIP: 192.0.2.1, {status}"))
                .replace("name: a,", &format!("name: a, uid: u, {metadata},").replace(", ,", ","));
        let endpoint = slices(&yaml)[0].endpoints[0].clone();
        let conditions = endpoint.conditions.unwrap();
        assert_eq!(
            (conditions.ready, conditions.serving, conditions.terminating),
            (Some(ready), Some(serving), Some(terminating)),
            "{name}"
        );
        assert_eq!(endpoint.node_name.as_deref(), Some("node-a"));
        let target = endpoint.target_ref.unwrap();
        assert_eq!((target.name.as_deref(), target.uid.as_deref()), (Some("a"), Some("u")));
    }
}

#[test]
fn names_below_that_of_the_service() {
    for (name, spec, expected) in [
        ("of a StatefulSet", "hostname: cart-0, subdomain: cart", Some("cart-0")),
        ("of another service", "hostname: cart-0, subdomain: other", None),
        ("no subdomain", "hostname: cart-0", None),
        ("no hostname", "subdomain: cart", None),
        ("no name", "hostname: 'a b', subdomain: cart", None),
    ] {
        let pod = pod("a", &format!("{spec}, {}", container(8080)), "podIP: 192.0.2.1");
        let slices = slices(&(service(CART) + &pod));
        assert_eq!(slices[0].endpoints[0].hostname.as_deref(), expected, "{name}");
    }
}
