use std::time::Duration;

use model::{Affinity, ServicePort, Visibility};

use super::{Applied, ip, service};

#[test]
fn only_tcp_ports_count() {
    let applied = Applied::new(&service(
        "dns",
        "clusterIP: 192.0.2.53, ports: [{name: udp, port: 53, protocol: UDP}, {name: tcp, port: 53, protocol: TCP}, \
         {name: metrics, port: 9153, targetPort: metrics}, {name: sctp, port: 1, protocol: SCTP}]",
    ))
    .sound();
    let port = |name: &str, port| ServicePort { name: name.into(), port, ..ServicePort::default() };
    assert_eq!(applied.service("dns").ports, [port("tcp", 53), port("metrics", 9153)]);
    assert_eq!(applied.snapshot().services_at(ip("192.0.2.53")).next(), Some(&applied.service("dns")));
}

#[test]
fn vips() {
    for (spec, vips) in [
        ("clusterIP: 192.0.2.1", &["192.0.2.1"][..]),
        ("clusterIP: 192.0.2.1, clusterIPs: [192.0.2.1, '2001:db8::1']", &["192.0.2.1", "2001:db8::1"]),
        ("clusterIPs: ['2001:db8::1']", &["2001:db8::1"]),
        ("type: LoadBalancer, clusterIP: 192.0.2.1", &["192.0.2.1"]),
        ("clusterIP: None", &[]),
        ("clusterIP: None, clusterIPs: [None]", &[]),
        ("clusterIP: ''", &[]),
        ("type: ClusterIP", &[]),
        ("type: ExternalName, externalName: www.example.com, clusterIP: 192.0.2.1", &[]),
    ] {
        let got = Applied::new(&service("cart", spec)).sound().service("cart").vips.clone();
        assert_eq!(got, vips.iter().map(|vip| ip(vip)).collect::<Vec<_>>(), "{spec}");
    }
}

#[test]
fn a_service_that_is_only_another_name() {
    let spec = "type: ExternalName, externalName: WWW.Example.com., ports: [{port: 80}]";
    let applied = Applied::new(&service("cart", spec)).sound();
    let cart = applied.service("cart");
    assert_eq!((cart.external_name.as_deref(), cart.is_headless()), (Some("www.example.com"), false));
    for (spec, expected) in [
        ("type: ExternalName", "is missing"),
        ("type: ExternalName, externalName: 'a b'", "\"a b\" is not a name like www.example.com"),
    ] {
        let applied = Applied::new(&service("cart", spec));
        assert_eq!(applied.refusal(), format!("Service default/cart: spec.externalName: {expected}"));
    }
}

#[test]
fn who_sees_a_service() {
    let exported = |to: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: cart, annotations: \
             {{networking.istio.io/exportTo: '{to}'}}}}, spec: {{clusterIP: 192.0.2.1}}}}\n---\n"
        )
    };
    let only = |namespaces: &[&str]| Visibility::Namespaces(namespaces.iter().map(|&n| n.into()).collect());
    for (name, yaml, expected, objection) in [
        ("says nothing", service("cart", "clusterIP: 192.0.2.1"), Visibility::Everywhere, None),
        ("two namespaces", exported("., bank"), only(&["bank", "default"]), None),
        ("nobody", exported("~"), only(&[]), None),
        ("never made sense", exported("Bank"), only(&["default"]), Some("only its own namespace sees it")),
        (
            "made sense before",
            exported("bank") + &exported("*,bank"),
            only(&["bank"]),
            Some("what it said before stays in force"),
        ),
    ] {
        let applied = Applied::new(&yaml);
        assert_eq!(applied.service("cart").visibility, expected, "{name}");
        let ends = |instead| applied.refusal().ends_with(instead);
        assert!(
            objection.map_or_else(|| applied.refusals.is_empty(), ends),
            "{name}: {:?}",
            applied.refusals
        );
    }
}

#[test]
fn how_endpoints_are_chosen() {
    let client_ip = |seconds| Affinity::ClientIp(Duration::from_secs(seconds));
    for (spec, affinity, node_local) in [
        ("type: ClusterIP", Affinity::None, false),
        ("sessionAffinity: None, internalTrafficPolicy: Cluster", Affinity::None, false),
        ("sessionAffinity: ClientIP", client_ip(10_800), false),
        (
            "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}",
            client_ip(60),
            false,
        ),
        ("internalTrafficPolicy: Local", Affinity::None, true),
    ] {
        let service = Applied::new(&service("cart", spec)).sound().service("cart");
        assert_eq!((service.affinity, service.node_local), (affinity, node_local), "{spec}");
    }
}

#[test]
fn what_makes_no_sense_names_the_field() {
    for (spec, refusal) in [
        ("clusterIP: 10.0.0", "spec.clusterIP: \"10.0.0\" is not an IP address"),
        ("clusterIPs: [192.0.2.1, none]", "spec.clusterIPs[1]: \"none\" is not an IP address"),
        (
            "clusterIP: None, clusterIPs: [192.0.2.1]",
            "spec.clusterIPs[0]: is 192.0.2.1 although spec.clusterIP is None",
        ),
        (
            "type: clusterip",
            "spec.type: \"clusterip\" is not one of ClusterIP, NodePort, LoadBalancer, ExternalName",
        ),
        ("ports: [{port: 0}]", "spec.ports[0].port: 0 is not a port, 1 to 65535"),
        ("ports: [{name: http}]", "spec.ports[0].port: 0 is not a port, 1 to 65535"),
        ("ports: [{port: 65536}]", "spec.ports[0].port: 65536 is not a port, 1 to 65535"),
        (
            "ports: [{port: 80, protocol: http}]",
            "spec.ports[0].protocol: \"http\" is not one of TCP, UDP, SCTP",
        ),
        ("ports: [{port: 80, targetPort: -1}]", "spec.ports[0].targetPort: -1 is not a port, 1 to 65535"),
        (
            "ports: [{port: 80, targetPort: '8080'}]",
            "spec.ports[0].targetPort: \"8080\" is not a port name: at most 15 of a-z, 0-9 and -, a letter among them",
        ),
        (
            "ports: [{name: a, port: 80}, {port: 81}]",
            "spec.ports[1].name: is missing: a service with several ports names each",
        ),
        (
            "ports: [{name: a, port: 80}, {name: a, port: 81}]",
            "spec.ports[1].name: \"a\" is also that of another port",
        ),
        (
            "ports: [{name: a, port: 80}, {name: b, port: 80}]",
            "spec.ports[1].port: 80 is also that of spec.ports[0]",
        ),
        ("sessionAffinity: Cookie", "spec.sessionAffinity: \"Cookie\" is not one of None, ClientIP"),
        (
            "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}",
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is not 1 to 86400",
        ),
        (
            "internalTrafficPolicy: local",
            "spec.internalTrafficPolicy: \"local\" is not one of Cluster, Local",
        ),
    ] {
        assert_eq!(
            Applied::new(&service("cart", spec)).refusal(),
            format!("Service default/cart: {refusal}")
        );
    }
    let bare = "{apiVersion: v1, kind: Service, metadata: {name: cart}}";
    assert_eq!(Applied::new(bare).refusal(), "Service default/cart: spec: is missing");
}
