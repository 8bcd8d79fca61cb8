//! Probes: the kubelet reaches captured pods past the proxy, and nobody else does.

use std::{fs, net::SocketAddr};

use harness::{AgentOptions, Connected, Dialler, Place, Pod, Server, bpf::Attached};

use crate::{
    mesh::{Mesh, echo},
    steering::wait_for,
};

const PORT: u16 = 7;

/// A captured pod that is probed.
struct Scene {
    server: Server,
    pod: Pod,
    mesh: Mesh,
}

impl Scene {
    fn of(mesh: Mesh) -> Self {
        let pod = mesh.pod("probed");
        Self { server: echo(&pod, PORT), pod, mesh }
    }

    fn new(name: &str) -> Self {
        Self::of(Mesh::labelled(name))
    }

    /// A process of the node.
    fn process(&self, name: &str) -> Dialler {
        Dialler::start(&self.mesh.node, name, &[]).unwrap()
    }

    /// A kubelet, which the agent has found.
    fn kubelet(&self) -> Dialler {
        let kubelet = self.process("kubelet");
        self.wait_for_kubelet(kubelet.process().pid());
        kubelet
    }

    #[track_caller]
    fn wait_for_kubelet(&self, pid: u32) {
        wait_for(|| self.probes() == format!("kubelet (PID {pid}) reaches captured pods directly"));
    }

    /// What `status` says of them.
    fn probes(&self) -> String {
        self.mesh.ask(&["status"])["probes"].as_str().unwrap_or_default().to_owned()
    }

    /// How many entries a map has.
    fn entries(&self, map: &str) -> u64 {
        let maps = self.mesh.ask(&["maps"]);
        let row = maps.as_array().unwrap().iter().find(|row| row["map"] == map).unwrap();
        row["entries"].as_u64().unwrap()
    }

    #[track_caller]
    fn goes_direct(&mut self, dialler: &mut Dialler, case: &str) -> Vec<SocketAddr> {
        let each = |ip| {
            let local = connected(&dialler.dial((ip, PORT)).unwrap(), case);
            dialler.ping().unwrap();
            assert_eq!(
                self.server.accepted().unwrap(),
                local,
                "{case}: the pod sees the node's true address"
            );
            assert!(!self.mesh.is_proxied(local), "{case}: goes through the proxy");
            dialler.close().unwrap();
            local
        };
        let mapped = self.pod.v4().to_ipv6_mapped().into();
        self.pod.ips().into_iter().chain([mapped]).map(each).collect()
    }

    #[track_caller]
    fn is_captured(&mut self, dialler: &mut Dialler, case: &str) -> Vec<SocketAddr> {
        let each = |ip| {
            let local = connected(&dialler.dial((ip, PORT)).unwrap(), case);
            dialler.ping().unwrap();
            self.server.accepted().unwrap();
            assert!(self.mesh.is_proxied(local), "{case}: gets round the proxy");
            dialler.close().unwrap();
            local
        };
        self.pod.ips().into_iter().map(each).collect()
    }
}

#[track_caller]
fn connected(answer: &Connected, case: &str) -> SocketAddr {
    match answer {
        Connected::Yes { local, .. } => SocketAddr::new(local.ip().to_canonical(), local.port()),
        no @ Connected::No { .. } => panic!("{case}: {no:?}"),
    }
}

#[test]
fn the_kubelet_goes_past_the_proxy_and_other_processes_of_the_node_through_it() {
    let mut scene = Scene::new("probes");
    let mut kubelet = scene.kubelet();
    let mut other = scene.process("curl");
    let direct = scene.goes_direct(&mut kubelet, "the kubelet");
    let captured = scene.is_captured(&mut other, "another process");
    assert_eq!(scene.mesh.counted("steer", "passed: probe from the node"), 3);
    assert_eq!(scene.mesh.counted("probe", "noted: a connection of who probes"), 3);
    wait_for(|| scene.entries("PROBES") == 0);
    let probe = connected(&kubelet.dial((scene.pod.v4(), PORT)).unwrap(), "another probe");
    kubelet.ping().unwrap();
    assert_eq!(
        scene.mesh.ask(&["pods"])[0]["older_connections"],
        0,
        "a probe counts as older than the capture"
    );

    // Once it has ended, there is nothing that could still write a record.
    assert!(scene.mesh.agent.terminate().unwrap().success());
    let records = scene.mesh.records();
    let is_recorded = |client: &SocketAddr| records.iter().any(|r| r["src.addr"] == client.to_string());
    assert!(!direct.iter().chain([&probe]).any(is_recorded), "a probe has a record: {records:?}");
    assert!(captured.iter().all(is_recorded), "a captured connection has none: {records:?}");
}

#[test]
fn what_only_looks_like_the_kubelet_is_captured() {
    let mut scene = Scene::new("lookalikes");
    let stranger = scene.mesh.stranger("stranger");
    let node: &Place = &scene.mesh.node;
    let pod_of_the_node = node.with_cgroup("kubepods/pod0c9f3a52-7f3f-4a39-9f0e-3c1a5b7d9e21/c1").unwrap();
    let lookalikes = [
        ("a pod's process", Dialler::start(&stranger, "kubelet", &[])),
        ("one of a pod with the node's namespaces", Dialler::start(&pod_of_the_node, "kubelet", &[])),
        (
            "one that is not root",
            Dialler::start(node, "kubelet", &["setpriv", "--reuid=1000", "--clear-groups", "--"]),
        ),
        (
            "one in another PID namespace",
            Dialler::start(node, "kubelet", &["unshare", "--pid", "--fork", "--kill-child", "--"]),
        ),
        ("one of another name", Dialler::start(node, "kubelet-proxy", &[])),
    ];
    // Who finds this one has seen the others.
    let mut kubelet = scene.kubelet();
    assert_eq!(scene.entries("PROBERS"), 1);
    for (case, lookalike) in lookalikes {
        scene.is_captured(&mut lookalike.unwrap(), case);
    }
    scene.goes_direct(&mut kubelet, "the kubelet");
}

/// The kubelet dials from a port and closes, then another process dials from it.
fn probe_and_dial_from_its_port(scene: &mut Scene, entries_left: u64) {
    let (mut kubelet, mut other) = (scene.kubelet(), scene.process("curl"));
    for ip in scene.pod.ips() {
        let probe = connected(&kubelet.dial_from(40_001, (ip, PORT)).unwrap(), "the probe");
        kubelet.ping().unwrap();
        assert_eq!(scene.server.accepted().unwrap(), probe);
        assert!(!scene.mesh.is_proxied(probe), "the probe goes through the proxy");
        assert_eq!(scene.entries("PROBES"), 1);
        kubelet.close().unwrap();
        assert_eq!(scene.entries("PROBES"), entries_left);

        let reused = connected(&other.dial_from(40_001, (ip, PORT)).unwrap(), "the next");
        other.ping().unwrap();
        scene.server.accepted().unwrap();
        assert_eq!(reused, probe);
        assert!(scene.mesh.is_proxied(reused), "the next from the port of a probe gets round the proxy");
        assert_eq!(scene.entries("PROBES"), 0);
        other.close().unwrap();
    }
}

#[test]
fn a_port_that_a_probe_had_is_anybodys_after_it() {
    probe_and_dial_from_its_port(&mut Scene::new("reused"), 0);
}

#[test]
fn a_port_that_a_probe_had_is_anybodys_even_if_a_stranger_hides_the_close_of_it() {
    let mut scene = Scene::new("hidden");
    let stranger = Attached::sock_ops(scene.mesh.node.cgroup()).unwrap();
    probe_and_dial_from_its_port(&mut scene, 1);
    assert!(stranger.runs().unwrap() > 0);
}

#[test]
fn a_kubelet_that_is_killed_leaves_nothing_and_the_next_is_found() {
    let mut scene = Scene::new("killed");
    let mut kubelet = scene.kubelet();
    for ip in scene.pod.ips() {
        connected(&kubelet.dial((ip, PORT)).unwrap(), "a probe");
        kubelet.ping().unwrap();
        scene.server.accepted().unwrap();
    }
    drop(kubelet);
    wait_for(|| scene.entries("PROBES") == 0);
    wait_for(|| scene.entries("PROBERS") == 0);
    assert_eq!(scene.probes(), "", "a kubelet that is gone");
    let mut next = scene.kubelet();
    scene.goes_direct(&mut next, "the next kubelet");
}

#[test]
fn probes_go_on_while_no_agent_runs() {
    let mut scene = Scene::new("without");
    let (mut kubelet, mut other) = (scene.kubelet(), scene.process("curl"));
    let ip = scene.pod.ips()[0];
    let probe = connected(&kubelet.dial((ip, PORT)).unwrap(), "a probe");
    scene.mesh.agent.kill().unwrap();
    for ip in scene.pod.ips() {
        let answer = other.dial((ip, PORT)).unwrap();
        assert!(matches!(answer, Connected::No { .. }), "another process gets round the mesh: {answer:?}");
    }
    kubelet.ping().unwrap();
    assert_eq!(scene.server.accepted().unwrap(), probe);
    for ip in scene.pod.ips() {
        let second = connected(&kubelet.dial((ip, PORT)).unwrap(), "a probe without an agent");
        kubelet.ping().unwrap();
        assert_eq!(scene.server.accepted().unwrap(), second);
    }
    scene.mesh.agent.launch().unwrap();
    kubelet.ping().unwrap();
    scene.wait_for_kubelet(kubelet.process().pid());
    scene.goes_direct(&mut kubelet, "a probe with the next agent");
    scene.is_captured(&mut other, "another process with the next agent");
}

#[test]
fn every_process_of_the_node_may_probe_or_nobody() {
    let mut node = Scene::of(Mesh::configured("anybody", "probes: node"));
    let mut process = node.process("curl");
    node.goes_direct(&mut process, "any process");
    let stranger = node.mesh.stranger("stranger");
    let mut pods_own = Dialler::start(&stranger, "curl", &[]).unwrap();
    node.is_captured(&mut pods_own, "a pod's process");

    let mut off = Scene::of(Mesh::configured("nobody", "probes: off"));
    assert_eq!(off.probes(), "captured like anything else (probes: off)");
    let mut kubelet = off.process("kubelet");
    off.is_captured(&mut kubelet, "the kubelet");
}

/// As in kind, or in a test's cluster on one machine.
#[test]
fn a_kubelet_is_known_in_a_node_that_is_a_container_itself() {
    let container =
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "slave", "--"];
    let mesh = Mesh::with("container", AgentOptions::default().under(&container));
    mesh.label(Some("ambient"));
    let mut scene = Scene::of(mesh);
    let holder = scene.mesh.agent.pid().unwrap();
    let children = fs::read_to_string(format!("/proc/{holder}/task/{holder}/children")).unwrap();
    let inside = format!("--target={}", children.trim());
    let inside = ["nsenter", &inside, "--pid", "--mount", "--"];
    // Before Linux 6.10 it is told by a cgroup of its own: which `nsenter`, that stays its parent, is not in.
    let cgroup = scene.mesh.node.with_cgroup("kubelet").unwrap();
    let enter = format!("echo 0 > {}/cgroup.procs && exec \"$@\"", cgroup.cgroup().display());
    let alone = [&inside[..], &["sh", "-c", &enter, "sh"]].concat();
    let mut outside = scene.process("kubelet");
    let mut kubelet = Dialler::start(&scene.mesh.node, "kubelet", &alone).unwrap();
    wait_for(|| scene.probes().ends_with("reaches captured pods directly"));
    scene.goes_direct(&mut kubelet, "the kubelet of the container");
    scene.is_captured(&mut outside, "one outside");
    let mut other = Dialler::start(&scene.mesh.node, "curl", &inside).unwrap();
    scene.is_captured(&mut other, "another process of the container");
}
