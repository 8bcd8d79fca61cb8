//! Input that is wrong, by mistake or on purpose: refused by name, with nothing harmed.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    mesh::{LABEL, Mesh, NAMESPACE, dial, echo},
    road::PATIENCE,
    steering::wait_for,
};

const NETNS: &str = "millstream.dev/netns";

#[test]
fn a_netns_annotation_that_lies_is_refused_with_the_reason() {
    let mesh = Mesh::labelled("lies");
    let victim = mesh.pod("victim");
    // No manifest says whose it is.
    let innocent = mesh.node.pod("elsewhere", "innocent").start_unannounced().unwrap();
    let _listening = echo(&victim, 7);
    let dir = mesh.lab.manifests();
    let fifo = dir.join(".fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let own = mesh.node.netns_path().display().to_string();
    let node_itself = "namespace of the node itself";
    for (name, path, reasons) in [
        // Where the process may not even look at PID 1, that is the reason.
        ("init", "/proc/1/ns/net".to_owned(), &[node_itself, "cannot open"][..]),
        ("node", own, &[node_itself]),
        ("fifo", fifo.display().to_string(), &["is not a network namespace"]),
        ("mount", "/proc/self/ns/mnt".to_owned(), &["is not a network namespace"]),
        ("device", "/dev/zero".to_owned(), &["is not a network namespace"]),
        ("missing", "/run/netns/no-such-thing".to_owned(), &["cannot open"]),
        ("foreign", innocent.netns_path().display().to_string(), &["holds none of the pod's addresses"]),
        ("relative", "run/netns/x".to_owned(), &["absolute"]),
    ] {
        let pod = mesh.node.pod(NAMESPACE, name).annotation(NETNS, &path).start().unwrap();
        let status = || mesh.ask(&["status"]).to_string();
        wait_for(|| status().contains(&format!("shop/{name}")));
        let said = status();
        assert!(reasons.iter().any(|reason| said.contains(reason)), "{name}: {said}");
        pod.withdraw().unwrap();
        wait_for(|| !status().contains(&format!("shop/{name}")));
    }
    fs::remove_file(&fifo).unwrap();
    let (mut connection, local) = dial(&innocent, (victim.v4(), 7), &[]);
    connection.ping("unharmed").unwrap();
    assert!(mesh.is_proxied(local));
}

#[test]
fn a_namespace_belongs_to_one_pod() {
    let mesh = Mesh::labelled("taken");
    let owner = mesh.pod("owner");
    let _listening = echo(&owner, 7);
    let stranger = mesh.stranger("stranger");
    let path = owner.netns_path().display().to_string();
    let thief = mesh.node.pod(NAMESPACE, "thief").annotation(NETNS, &path).start().unwrap();
    wait_for(|| mesh.ask(&["status"]).to_string().contains("thief"));
    assert_eq!(mesh.ask(&["maps", "pods"]).as_array().unwrap().len(), 1);
    thief.withdraw().unwrap();
    // The owner is as it was.
    dial(&stranger, (owner.v4(), 7), &[]).0.ping("still captured").unwrap();
    assert_eq!(mesh.ask(&["status"])["pods"]["captured"], 1);
}

#[test]
fn a_broken_manifest_harms_nobody_and_is_named() {
    let mesh = Mesh::labelled("broken");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _listening = echo(&server, 7);
    let service =
        mesh.lab.service(NAMESPACE, "web").port("echo", 80, 7_u16).endpoints(&[&server]).apply().unwrap();
    wait_for(|| mesh.agent.cli(&["services"]).unwrap().any_stdout().contains("web"));
    for (file, text, named) in [
        ("syntax.yaml", "kind: [", "syntax.yaml"),
        ("type.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: 7}", "spec.ports"),
        (
            "port.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterIP: 10.96.9.9, ports: [{port: 99999}]}",
            "spec.ports[0].port",
        ),
        (
            "address.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterIP: 10.96.9.999, ports: [{port: 80}]}",
            "spec.clusterIP",
        ),
        ("binary.yaml", "\u{0}\u{1}\u{2}", "binary.yaml"),
    ] {
        mesh.lab.write_manifest(file, text).unwrap();
        wait_for(|| mesh.ask(&["status"]).to_string().contains(file));
        let status = mesh.ask(&["status"]);
        assert!(status["refused"].to_string().contains(named), "{file}: {}", status["refused"]);
        dial(&client, service.v4_addr(80), &[]).0.ping(file).unwrap();
        mesh.lab.remove_manifest(file).unwrap();
        wait_for(|| !mesh.ask(&["status"]).to_string().contains(file));
    }
}

#[test]
fn the_last_good_version_of_an_object_stays() {
    let mesh = Mesh::labelled("lastgood");
    mesh.lab.label_namespace("tests", LABEL, Some("ambient")).unwrap();
    let pod = mesh.node.pod("tests", "pod").start().unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    mesh.lab
        .write_manifest("namespace-tests.yaml", "kind: Namespace\nmetadata: {name: tests, labels: {{")
        .unwrap();
    wait_for(|| mesh.ask(&["status"]).to_string().contains("namespace-tests.yaml"));
    assert_eq!(mesh.ask(&["status"])["pods"]["captured"], 1, "a typing error released a pod");
    mesh.lab.label_namespace("tests", LABEL, Some("none")).unwrap();
    mesh.agent.wait_released(&pod).unwrap();
}

/// As on a kernel whose verifier knows less than those that we have tried.
#[test]
fn a_program_that_the_kernel_refuses_is_named_with_what_its_verifier_said() {
    let mut mesh = Mesh::labelled("verifier");
    mesh.agent.terminate().unwrap();
    let cleanup = |mesh: &Mesh| assert_eq!(mesh.agent.cli(&["cleanup"]).unwrap().code(), Some(0));
    cleanup(&mesh);
    let maps = mesh.node.pin_dir().join(format!("v{}", abi::VERSION));
    fs::create_dir_all(&maps).unwrap();
    harness::bpf::pin_array(&maps.join(abi::name::AYA_LOGS)).unwrap();

    mesh.agent.launch_unready().unwrap();
    let ended = mesh.agent.wait_for_end(PATIENCE).unwrap();
    assert_eq!(ended.code(), Some(2));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let log = mesh.node.run_dir().join("verifier/connect4.log");
    let said = mesh.agent.log().unwrap();
    let line = said.lines().find(|line| line.contains("refuses")).unwrap_or_else(|| panic!("{said}"));
    for part in [
        format!("Linux {} refuses eBPF program connect4: ", kernel.trim()),
        format!("; the verifier's whole log is in {}", log.display()),
    ] {
        assert!(line.contains(&part), "{line}");
    }
    let whole = fs::read_to_string(&log).unwrap();
    assert!(whole.contains("R1=ctx(") && whole.contains("processed "), "{whole}");
    cleanup(&mesh);
    assert!(!mesh.node.run_dir().exists());
}

#[test]
fn nobody_but_root_can_ask_or_read() {
    let mesh = Mesh::labelled("private");
    let run_dir = mesh.node.run_dir();
    let mode = fs::metadata(run_dir.join("admin.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn nonsense_at_the_admin_socket_is_answered() {
    use std::io::{Read, Write};
    let mesh = Mesh::labelled("nonsense");
    for said in [&b"\n"[..], b"{}\n", b"{\"ask\":\"everything\"}\n", b"\xff\xfe\n", &[b'x'; 100_000]] {
        let mut socket =
            std::os::unix::net::UnixStream::connect(mesh.node.run_dir().join("admin.sock")).unwrap();
        // It may hang up before it has read everything.
        let _refused = socket.write_all(said);
        let _half = socket.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _reset = socket.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.contains("Err"), "{answer}");
    }
    assert_eq!(mesh.agent.cli(&["status"]).unwrap().code(), Some(0));
}
