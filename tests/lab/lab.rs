//! The lab itself, without an agent: pods reach each other, and nothing is ever left behind.

use std::{fs, net::SocketAddr, panic, time::Duration};

use harness::{Client, Connected, Lab, LabId, Mode, Node, Pod, address::Families, standing};

/// Namespaces are gone only when no process is in them, whatever their names.
struct Traces {
    id: LabId,
    inodes: Vec<u64>,
}

impl Traces {
    fn of(lab: &Lab, pods: &[&Pod]) -> Self {
        let nodes = lab.nodes();
        let inodes = nodes.iter().map(|node| node.netns().inode());
        Self {
            id: lab.id().clone(),
            inodes: inodes.chain(pods.iter().map(|pod| pod.netns().inode())).collect(),
        }
    }

    #[track_caller]
    fn assert_gone(&self) {
        assert_eq!(Lab::leftovers(&self.id), Vec::<String>::new());
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(netns) = fs::read_link(process.path().join("ns/net")) else { continue };
            let netns = netns.display().to_string();
            let left = self.inodes.iter().any(|inode| netns == format!("net:[{inode}]"));
            assert!(!left, "{} is still in {netns}", process.path().display());
        }
    }
}

fn echo(pod: &Pod, addr: impl Into<SocketAddr>, args: &[&str]) -> Client {
    let addr = addr.into();
    let mut client = pod.dial(addr, args).unwrap();
    let connected = client.connected().unwrap();
    assert!(matches!(connected, Connected::Yes { .. }), "{addr} {args:?}: {connected:?}");
    client.ping("hello").unwrap();
    client
}

fn pod(node: &Node, name: &str) -> Pod {
    node.pod("shop", name).start().unwrap()
}

#[test]
fn pods_reach_each_other_on_one_node_and_across_nodes_in_both_families() {
    let lab = Lab::new("reach").unwrap();
    let (a, b) = (lab.node("a").unwrap(), lab.node("b").unwrap());
    let (client, near, far) = (pod(&a, "client"), pod(&a, "near"), pod(&b, "far"));
    for server in [&near, &far] {
        let mut listening = server.serve(Mode::Echo, 7).unwrap();
        for (ip, own) in server.ips().into_iter().zip(client.ips()) {
            let connected = echo(&client, (ip, 7), &[]);
            let seen = listening.accepted().unwrap();
            assert_eq!(seen.ip(), own, "{ip}");
            assert_eq!(connected.outcome().unwrap()["event"], "closed");
        }
        let mapped = echo(&client, (server.v4(), 7), &["--mapped"]);
        drop(mapped);
    }
    let traces = Traces::of(&lab, &[&client, &near, &far]);
    drop((client, near, far, a, b, lab));
    traces.assert_gone();
}

#[test]
fn a_lab_can_be_made_again_and_two_of_a_name_cannot() {
    for _ in 0..2 {
        let lab = Lab::new("again").unwrap();
        let node = lab.node("a").unwrap();
        let pod = pod(&node, "client");
        let _server = pod.serve(Mode::Echo, 7).unwrap();
        let second = Lab::new("again").unwrap_err();
        assert!(second.to_string().contains("already"), "{second:#}");
        let traces = Traces::of(&lab, &[&pod]);
        drop(lab);
        traces.assert_gone();
    }
    for name in ["", "two-words", "Capital", "a/b"] {
        assert!(Lab::new(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_panic_leaves_nothing() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let panicked = panic::catch_unwind(move || {
        let lab = Lab::new("panic").unwrap();
        let node = lab.node("a").unwrap();
        let pod = pod(&node, "client");
        let _server = pod.serve(Mode::Echo, 7).unwrap();
        // Nobody waits for this one, nor tells it to end.
        std::mem::forget(pod.spawn(&["sleep", "1000"]).unwrap());
        sender.send(Traces::of(&lab, &[&pod])).unwrap();
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    receiver.recv().unwrap().assert_gone();
}

#[test]
fn programs_run_in_the_namespace_and_cgroup_of_their_pod() {
    let lab = Lab::new("place").unwrap();
    let pod = pod(&lab.node("a").unwrap(), "client");
    let netns = pod.run(&["readlink", "/proc/self/ns/net"]).unwrap();
    assert_eq!(netns.stdout().unwrap(), format!("net:[{}]", pod.netns().inode()));
    let cgroup = pod.run(&["cat", "/proc/self/cgroup"]).unwrap();
    let own = format!("/ms-{}/a/client", lab.id());
    assert!(cgroup.stdout().unwrap().lines().any(|line| line == format!("0::{own}")), "{cgroup:?}");
    assert_eq!(pod.run(&["sh", "-c", "echo no >&2; exit 3"]).unwrap().code(), Some(3));
    let late = pod.run_for(Duration::from_millis(50), &["sleep", "1000"]).unwrap_err();
    assert!(late.to_string().contains("did not end"), "{late:#}");
}

#[test]
fn a_pod_may_have_one_family_only() {
    let lab = Lab::new("family").unwrap();
    let node = lab.node("a").unwrap();
    let client = pod(&node, "client");
    for (families, name) in [(Families::V4, "v4"), (Families::V6, "v6")] {
        let server = node.pod("shop", name).families(families).start().unwrap();
        let _echo = server.serve(Mode::Echo, 7).unwrap();
        assert_eq!(server.ips().len(), 1);
        drop(echo(&client, (server.ips()[0], 7), &[]));
    }
}

#[test]
fn every_kind_of_client_and_server_works_without_a_mesh() {
    let lab = Lab::new("peers").unwrap();
    let node = lab.node("a").unwrap();
    let (client, server) = (pod(&node, "client"), pod(&node, "server"));
    server.sysctl("net/ipv4/tcp_fastopen", "3").unwrap();
    let modes = [
        Mode::Echo,
        Mode::Hello,
        Mode::Sink,
        Mode::Source,
        Mode::Reset,
        Mode::SlowRead,
        Mode::HalfClose,
        Mode::Http,
    ];
    let mut servers: Vec<_> =
        (7..).zip(modes).map(|(port, mode)| server.serve(mode, port).unwrap()).collect();
    let [echo_at, hello, sink, source, reset, slow, half, http] =
        [7, 8, 9, 10, 11, 12, 13, 14].map(|port| SocketAddr::from((server.v4(), port)));

    for how in ["blocking", "nonblocking", "mptcp", "fastopen-connect"] {
        drop(echo(&client, echo_at, &["--how", how]));
    }
    let outcome = |addr: SocketAddr, args: &[&str]| {
        let mut dialled = client.dial(addr, args).unwrap();
        assert!(matches!(dialled.connected().unwrap(), Connected::Yes { .. }), "{addr} {args:?}");
        dialled.outcome().unwrap()
    };
    assert_eq!(outcome(echo_at, &["--how", "fastopen-sendto"])["event"], "closed");
    assert_eq!(outcome(echo_at, &["--mode", "echo", "--bytes", "10000000"])["intact"], true);
    assert_eq!(outcome(echo_at, &["--mode", "trickle", "--bytes", "20"])["received"], 20);
    assert_eq!(outcome(hello, &["--mode", "half-close"])["text"], "220 ready\r\n");
    assert_eq!(outcome(sink, &["--mode", "upload", "--bytes", "10000000"])["sink"]["received"], 10_000_000);
    assert_eq!(outcome(source, &["--mode", "download"])["received"], 64 << 20);
    assert_eq!(outcome(reset, &["--mode", "echo", "--bytes", "100"])["error"], "ECONNRESET");
    assert_eq!(outcome(half, &["--mode", "half-close"])["text"], "220 ready\r\n");
    assert_eq!(outcome(slow, &["--mode", "reset", "--bytes", "100"])["event"], "closed");
    let refused = client.dial((server.v4(), 99).into(), &[]).unwrap().connected().unwrap();
    assert!(matches!(&refused, Connected::No { error, .. } if error == "ECONNREFUSED"), "{refused:?}");

    let url = format!("http://{http}/path");
    let answer = client.run(&["curl", "--silent", "--show-error", &url]).unwrap();
    assert_eq!(answer.stdout().unwrap(), format!("server: GET /path from {}", client.v4()));

    assert_eq!(servers[5].closed().unwrap()["error"], "ECONNRESET");
}

#[test]
fn load_counts_what_succeeds_and_what_fails() {
    let lab = Lab::new("load").unwrap();
    let node = lab.node("a").unwrap();
    let (client, server) = (pod(&node, "client"), pod(&node, "server"));
    let _listening = server.serve(Mode::Echo, 7).unwrap();
    let cases = [("a server", 7, true), ("nobody", 8, false)];
    for (name, port, works) in cases {
        let load = client.load((server.v4(), port).into(), &["--workers", "2"]).unwrap();
        let tally = load.stop().unwrap();
        let failures = tally["failures"].as_object().unwrap();
        assert_eq!(tally["connections"].as_u64().is_some_and(|n| n >= 2), works, "{name}: {tally}");
        assert_eq!(failures.is_empty(), works, "{name}: {tally}");
        assert!(works || failures.contains_key("connect ECONNREFUSED"), "{name}: {tally}");
    }
}

#[test]
fn a_pod_whose_network_is_destroyed_is_gone_at_once() {
    let lab = Lab::new("destroy").unwrap();
    let node = lab.node("a").unwrap();
    let pod = pod(&node, "client");
    let _server = pod.serve(Mode::Echo, 7).unwrap();
    pod.destroy_network().unwrap();
    assert!(!pod.netns_path().exists());
    assert!(lab.manifests().join("pod-shop-client.yaml").exists());
    pod.withdraw().unwrap();
    assert!(!lab.manifests().join("pod-shop-client.yaml").exists());
}

#[test]
fn what_a_killed_test_leaves_behind_the_next_lab_removes() {
    let victim = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "lab::dies_with_its_lab", "--nocapture"])
        .output()
        .unwrap();
    assert!(!victim.status.success());
    let said = String::from_utf8(victim.stdout).unwrap();
    let name = said.lines().find_map(|line| line.split_once("lab=")).unwrap().1;
    assert!(std::path::Path::new("/run/netns").join(format!("ms-{name}-a-client")).exists());
    drop(Lab::new("reaper").unwrap());
    for dir in ["/run/netns", "/run/millstream-lab"] {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            assert!(!entry.file_name().to_string_lossy().contains(name), "{}", entry.path().display());
        }
    }
}

#[test]
#[ignore = "run by the test above, as a program that is killed"]
fn dies_with_its_lab() {
    let lab = Lab::new("victim").unwrap();
    let pod = pod(&lab.node("a").unwrap(), "client");
    let _server = pod.serve(Mode::Echo, 7).unwrap();
    println!("lab={}", lab.id());
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn a_standing_lab_outlives_its_maker_and_other_labs() {
    let lab = Lab::standing("stand").unwrap();
    let id = lab.id().clone();
    let place = pod(&lab.node("a").unwrap(), "standing-client");
    place.serve(Mode::Echo, 7).unwrap().leave();
    let inode = place.netns().inode();
    lab.leave().unwrap();
    drop(Lab::new("visitor").unwrap());
    assert!(standing::all(standing::LAB).contains(&id));
    let inside = ["sh", "-c", "test \"$(readlink /proc/self/ns/net)\" = \"net:[$0]\"", &inode.to_string()];
    let status = standing::exec(standing::LAB, "standing-client", &inside.map(str::to_owned)).unwrap();
    assert!(status.success(), "{status}");
    standing::down(&id).unwrap();
    drop(place);
    Traces { id, inodes: vec![inode] }.assert_gone();
}
