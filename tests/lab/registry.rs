//! What becomes of connections to addresses that no service has: `ALLOW_ANY` and `REGISTRY_ONLY`.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use harness::{Mode, Pod};
use serde_json::{Value, json};

use crate::{
    mesh::{LABEL, Mesh, NAMESPACE, dial, echo},
    road::connect,
    steering::wait_for,
};

const POLICY: &str = "millstream.dev/outbound-traffic-policy";

/// Whether it comes through; if not, it is reset, and its record says why.
#[track_caller]
fn passes(mesh: &Mesh, client: &Pod, addr: SocketAddr) -> bool {
    let before = mesh.ended("not-registered");
    let passes = is_answered(client, addr);
    wait_for(|| passes || mesh.ended("not-registered") == before + 1);
    passes
}

fn is_answered(client: &Pod, addr: SocketAddr) -> bool {
    let ask = |mut stream: TcpStream| -> io::Result<usize> {
        stream.write_all(b"?")?;
        stream.read(&mut [0])
    };
    connect(client, addr).and_then(ask).is_ok_and(|length| length == 1)
}

#[test]
fn registry_only_refuses_what_no_service_has_and_lets_all_else_pass() {
    let mesh = Mesh::labelled("registry");
    let client = mesh.pod("client");
    let (near, unknown) =
        (mesh.pod("near"), mesh.node.pod("elsewhere", "unknown").start_unannounced().unwrap());
    let (listed, behind) =
        (mesh.stranger("listed"), mesh.node.pod("elsewhere", "behind").start_unannounced().unwrap());
    let _listening = [&near, &unknown, &listed, &behind].map(|pod| echo(pod, 7));
    let service =
        mesh.lab.service(NAMESPACE, "near").port("echo", 80, 7_u16).endpoints(&[&near]).apply().unwrap();
    let entry = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"namespace": NAMESPACE, "name": "behind"},
        "spec": {
            "hosts": ["behind.example.com"],
            "addresses": behind.ips(),
            "ports": [{"number": 7, "name": "tcp", "protocol": "TCP"}],
            "resolution": "NONE",
        },
    });
    mesh.lab.write_manifest("entry.yaml", &entry.to_string()).unwrap();
    let known = || mesh.agent.json(&["services"]).unwrap().to_string();
    wait_for(|| known().contains("behind.example.com") && known().contains("near"));
    let reaches_unknown = || is_answered(&client, (unknown.v4(), 7).into());
    for (policy, is_open) in [
        (Some("REGISTRY_ONLY"), false),
        (Some("ALLOW_ANY"), true),
        (Some("REGISTRY_ONLY"), false),
        (None, true),
    ] {
        mesh.lab.annotate_namespace(NAMESPACE, POLICY, policy).unwrap();
        wait_for(|| reaches_unknown() == is_open);
        for family in 0..2 {
            let ip = |pod: &Pod| pod.ips()[family];
            let vip: SocketAddr = if family == 0 { service.v4_addr(80) } else { service.v6_addr(80) };
            for (case, addr, expected) in [
                ("an unknown address", SocketAddr::new(ip(&unknown), 7), is_open),
                ("a service", vip, true),
                ("a pod of the mesh", SocketAddr::new(ip(&near), 7), true),
                ("a pod outside, which is known", SocketAddr::new(ip(&listed), 7), true),
                ("the address of a ServiceEntry", SocketAddr::new(ip(&behind), 7), true),
            ] {
                assert_eq!(passes(&mesh, &client, addr), expected, "{policy:?}: {case}, {addr}");
            }
        }
    }
    let why = || mesh.ask(&["why", &client.full_name(), &format!("{}:7", unknown.v4())]);
    assert_eq!(why()["verdict"], "proxied", "{}", why());
    mesh.lab.annotate_namespace(NAMESPACE, POLICY, Some("REGISTRY_ONLY")).unwrap();
    wait_for(|| why()["verdict"] == "refused");
    assert!(why().to_string().contains("REGISTRY_ONLY"), "{}", why());
    let refused =
        |record: &Value| record["reason"] == "not-registered" && record.get("dst.service").is_none();
    assert!(mesh.records().iter().any(refused), "no record");
}

#[test]
fn the_namespace_overrules_the_configuration_and_others_are_not_touched() {
    let mesh = Mesh::configured("registryconf", "outbound-traffic-policy: REGISTRY_ONLY");
    mesh.lab.annotate_namespace("free", POLICY, Some("ALLOW_ANY")).unwrap();
    mesh.lab.label_namespace("free", LABEL, Some("ambient")).unwrap();
    let client = mesh.pod("client");
    let free = mesh.node.pod("free", "free").start().unwrap();
    mesh.agent.wait_captured(&free).unwrap();
    let unknown = mesh.node.pod("elsewhere", "unknown").start_unannounced().unwrap();
    let _serving = unknown.serve(Mode::Echo, 7).unwrap();
    let (mut connection, local) = dial(&free, (unknown.v4(), 7), &[]);
    connection.ping("hello").unwrap();
    assert!(mesh.is_proxied(local));
    for ip in unknown.ips() {
        assert!(!passes(&mesh, &client, (ip, 7).into()), "{ip}");
    }
    // What cannot be read opens nothing that was closed.
    mesh.lab.annotate_namespace(NAMESPACE, POLICY, Some("EVERYTHING")).unwrap();
    wait_for(|| mesh.ask(&["status"]).to_string().contains("EVERYTHING"));
    assert!(!passes(&mesh, &client, (unknown.v4(), 7).into()));
}
