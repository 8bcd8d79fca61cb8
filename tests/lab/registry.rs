//! What becomes of connections to addresses that no service has: `ALLOW_ANY` and `REGISTRY_ONLY`.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
};

use Outcome::{Passes, RefusedByTheProxy, RefusedInTheKernel};
use harness::{Mode, Pod};
use serde_json::{Value, json};

use crate::{
    mesh::{LABEL, Mesh, NAMESPACE, dial, echo},
    road::connect,
    steering::wait_for,
};

const POLICY: &str = "millstream.dev/outbound-traffic-policy";

/// What became of a connection.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Passes,
    /// By `connect(2)`, and counted.
    RefusedInTheKernel,
    /// Reset, and its record says why.
    RefusedByTheProxy,
}

#[track_caller]
pub(crate) fn dialled(mesh: &Mesh, client: &Pod, addr: SocketAddr) -> Outcome {
    let by_proxy = || mesh.ended("not-registered");
    let in_kernel = || mesh.counted("connect", "refused: not registered, REGISTRY_ONLY");
    let (proxy_before, kernel_before) = (by_proxy(), in_kernel());
    if is_answered(client, addr) {
        return Passes;
    }
    if in_kernel() == kernel_before + 1 {
        let refused = connect(client, addr).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{addr}");
        assert_eq!(by_proxy(), proxy_before, "{addr}");
        return RefusedInTheKernel;
    }
    wait_for(|| by_proxy() == proxy_before + 1);
    RefusedByTheProxy
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
    let theirs = mesh.node.pod("elsewhere", "theirs").start_unannounced().unwrap();
    let _listening = [&near, &unknown, &listed, &behind, &theirs].map(|pod| echo(pod, 7));
    let _anywhere = echo(&unknown, 4040);
    let service =
        mesh.lab.service(NAMESPACE, "near").port("echo", 80, 7_u16).endpoints(&[&near]).apply().unwrap();
    write_entry(&mesh, "behind", NAMESPACE, &behind.ips(), 7);
    write_entry(&mesh, "anywhere", NAMESPACE, &[], 4040);
    write_entry(&mesh, "theirs", "elsewhere", &theirs.ips(), 7);
    let known = || mesh.agent.json(&["services"]).unwrap().to_string();
    wait_for(|| {
        ["behind.example", "anywhere.example", "theirs.example", "near"]
            .iter()
            .all(|name| known().contains(name))
    });
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
            let otherwise = |refused| if is_open { Passes } else { refused };
            for (case, addr, expected) in [
                ("an unknown address", SocketAddr::new(ip(&unknown), 7), otherwise(RefusedInTheKernel)),
                ("a service", vip, Passes),
                ("a pod of the mesh", SocketAddr::new(ip(&near), 7), Passes),
                ("a pod outside, which is known", SocketAddr::new(ip(&listed), 7), Passes),
                ("the address of a ServiceEntry", SocketAddr::new(ip(&behind), 7), Passes),
                ("a port of every address", SocketAddr::new(ip(&unknown), 4040), Passes),
                (
                    "what is registered for others",
                    SocketAddr::new(ip(&theirs), 7),
                    otherwise(RefusedByTheProxy),
                ),
            ] {
                assert_eq!(dialled(&mesh, &client, addr), expected, "{policy:?}: {case}, {addr}");
            }
        }
    }
    let why = || mesh.ask(&["why", &client.full_name(), &format!("{}:7", unknown.v4())]);
    assert_eq!(why()["verdict"], "proxied", "{}", why());
    mesh.lab.annotate_namespace(NAMESPACE, POLICY, Some("REGISTRY_ONLY")).unwrap();
    wait_for(|| why()["verdict"] == "refused");
    for said in
        ["refused with ECONNREFUSED", "REGISTRY has no", "the outbound traffic policy is REGISTRY_ONLY"]
    {
        assert!(why().to_string().contains(said), "{said}: {}", why());
    }
    let pods = mesh.ask(&["pods"]).to_string();
    assert!(pods.contains("refused: not registered, REGISTRY_ONLY"), "{pods}");
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
        assert_eq!(dialled(&mesh, &client, (ip, 7).into()), RefusedInTheKernel, "{ip}");
    }
    // What cannot be read opens nothing that was closed.
    mesh.lab.annotate_namespace(NAMESPACE, POLICY, Some("EVERYTHING")).unwrap();
    wait_for(|| mesh.ask(&["status"]).to_string().contains("EVERYTHING"));
    assert_eq!(dialled(&mesh, &client, (unknown.v4(), 7).into()), RefusedInTheKernel);
}

/// Nobody learns of an address that the kernel would still refuse.
#[test]
fn what_has_just_been_registered_can_be_dialled_at_once() {
    let mesh = Mesh::configured("registrynew", "outbound-traffic-policy: REGISTRY_ONLY");
    let client = mesh.pod("client");
    let known = |host: &str| mesh.agent.json(&["services"]).unwrap().to_string().contains(host);
    for round in 0..5 {
        let name = format!("new{round}");
        let behind = mesh.node.pod("elsewhere", &name).start_unannounced().unwrap();
        let _listening = echo(&behind, 7);
        assert_eq!(dialled(&mesh, &client, (behind.v4(), 7).into()), RefusedInTheKernel, "{name}");
        write_entry(&mesh, &name, NAMESPACE, &behind.ips(), 7);
        wait_for(|| known(&format!("{name}.example.com")));
        for ip in behind.ips() {
            assert_eq!(dialled(&mesh, &client, (ip, 7).into()), Passes, "{name}: {ip}");
        }
    }
}

/// The next agent finds what this one has left, and the cluster as it is by then.
#[test]
fn a_restarted_agent_refuses_what_is_not_registered_any_more() {
    let mut mesh = Mesh::configured("registryagain", "outbound-traffic-policy: REGISTRY_ONLY");
    let client = mesh.pod("client");
    let behind = mesh.node.pod("elsewhere", "behind").start_unannounced().unwrap();
    let _listening = echo(&behind, 7);
    write_entry(&mesh, "behind", NAMESPACE, &behind.ips(), 7);
    let addr = SocketAddr::from((behind.v4(), 7));
    wait_for(|| is_answered(&client, addr));
    mesh.agent.kill().unwrap();
    mesh.lab.remove_manifest("behind.yaml").unwrap();
    mesh.agent.launch().unwrap();
    wait_for(|| connect(&client, addr).is_err());
    assert_eq!(dialled(&mesh, &client, addr), RefusedInTheKernel);
    write_entry(&mesh, "behind", NAMESPACE, &behind.ips(), 7);
    wait_for(|| is_answered(&client, addr));
}

/// Its host is `NAME.example.com`; without addresses it has the port of every address.
fn write_entry(mesh: &Mesh, name: &str, namespace: &str, addresses: &[IpAddr], port: u16) {
    let entry = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "hosts": [format!("{name}.example.com")],
            "addresses": addresses,
            "exportTo": ["."],
            "ports": [{"number": port, "name": "tcp", "protocol": "TCP"}],
            "resolution": "NONE",
        },
    });
    mesh.lab.write_manifest(&format!("{name}.yaml"), &entry.to_string()).unwrap();
}
