//! What is excluded passes without the proxy: by annotation or node configuration, live, also without an agent.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use harness::{AgentOptions, Lab, Node, Pod};
use serde_json::Value;

use crate::{
    mesh::{LABEL, Mesh, NAMESPACE, dial, echo, refused},
    steering::wait_for,
};

const OUTBOUND_CIDRS: &str = "millstream.dev/exclude-outbound-cidrs";
const OUTBOUND_PORTS: &str = "millstream.dev/exclude-outbound-ports";
const INBOUND_CIDRS: &str = "millstream.dev/exclude-inbound-cidrs";
const INBOUND_PORTS: &str = "millstream.dev/exclude-inbound-ports";

/// Pods may exclude whatever they like.
const ALL_ALLOWED: &str = "allow-overrides: [exclude-outbound-cidrs, exclude-outbound-ports, \
                           exclude-inbound-cidrs, exclude-inbound-ports]";

/// A labelled mesh whose agent is told this of exclusions.
fn mesh_with(name: &str, exclusions: &str) -> Mesh {
    let lab = Lab::new(name).unwrap();
    let node = lab.node("a").unwrap();
    write_config(&node, exclusions);
    let options =
        AgentOptions::default().arg("--log-json").arg("--config").arg(config(&node).to_str().unwrap());
    let agent = node.agent(options).unwrap();
    let mesh = Mesh { agent, node, lab };
    mesh.label(Some("ambient"));
    mesh
}

/// Beside the agent's log: it goes with the lab.
fn config(node: &Node) -> PathBuf {
    node.agent_log().with_file_name("config.yaml")
}

fn write_config(node: &Node, exclusions: &str) {
    fs::write(config(node), format!("exclusions: {{{exclusions}}}")).unwrap();
}

/// The exclusions that the kernel holds for a pod and that are in force, as `list what`.
fn in_force(mesh: &Mesh, pod: &Pod) -> Vec<String> {
    let rows = mesh.ask(&["maps", "exclusions"]);
    let of_pod = |row: &&Value| row["pod"] == pod.full_name() && row["in_force"] == true;
    let told = |row: &Value| format!("{} {}", row["list"].as_str().unwrap(), row["what"].as_str().unwrap());
    rows.as_array().unwrap().iter().filter(of_pod).map(told).collect()
}

/// Waits until the kernel holds just these.
#[track_caller]
fn wait_in_force(mesh: &Mesh, pod: &Pod, expected: &[&str]) {
    wait_for(|| in_force(mesh, pod) == expected);
}

/// Talks, and says whether the proxy had a hand in it.
#[track_caller]
fn is_proxied(mesh: &Mesh, from: &Pod, to: impl Into<SocketAddr>, args: &[&str]) -> bool {
    let (mut connection, local) = dial(from, to, args);
    connection.ping("hello").unwrap();
    mesh.is_proxied(local)
}

fn row(mesh: &Mesh, pod: &Pod) -> Value {
    let rows = mesh.ask(&["pods"]);
    rows.as_array().unwrap().iter().find(|row| row["uid"] == *pod.uid()).unwrap().clone()
}

/// Both addresses of a pod as one list of networks.
fn networks(pod: &Pod) -> String {
    format!("{}/32, {}/128", pod.v4(), pod.v6())
}

#[test]
fn each_list_excludes_its_own_direction_and_nothing_else() {
    let mesh = mesh_with("lists", ALL_ALLOWED);
    let (pod, stranger, other) = (mesh.pod("pod"), mesh.stranger("stranger"), mesh.stranger("other"));
    let _listening = [echo(&stranger, 7), echo(&stranger, 8), echo(&other, 7), echo(&pod, 7), echo(&pod, 8)];
    let of_stranger = networks(&stranger);
    // Out to the stranger's two ports, out to the other; in to the pod's two ports, in from the other.
    for (annotation, value, passes) in [
        (OUTBOUND_CIDRS, &*of_stranger, [true, true, false, false, false, false]),
        (OUTBOUND_PORTS, "6-7", [true, false, true, false, false, false]),
        (INBOUND_CIDRS, &*of_stranger, [false, false, false, true, true, false]),
        (INBOUND_PORTS, "7", [false, false, false, true, false, true]),
    ] {
        pod.annotate(annotation, Some(value)).unwrap();
        wait_for(|| !in_force(&mesh, &pod).is_empty());
        for family in 0..2 {
            let [there, further, here] = [&stranger, &other, &pod].map(|pod| pod.ips()[family]);
            let found = [
                (&pod, there, 7),
                (&pod, there, 8),
                (&pod, further, 7),
                (&stranger, here, 7),
                (&stranger, here, 8),
                (&other, here, 7),
            ]
            .map(|(from, ip, port)| !is_proxied(&mesh, from, (ip, port), &[]));
            assert_eq!(found, passes, "{annotation}, {there}");
        }
        pod.annotate(annotation, None).unwrap();
        wait_in_force(&mesh, &pod, &[]);
    }
    assert_eq!(mesh.ask(&["maps", "exclusions"]), Value::Array(Vec::new()), "entries are left");
    for (program, least) in [("connect", 8), ("steer", 8)] {
        assert!(mesh.counted(program, "passed: excluded") >= least, "{program} did not count");
    }
}

#[test]
fn ways_to_dial_what_is_excluded() {
    let mesh = mesh_with("ways", "exclude-outbound-ports: 7");
    let (pod, stranger) = (mesh.pod("pod"), mesh.stranger("stranger"));
    let _listening = [echo(&stranger, 7), echo(&stranger, 8)];
    for ip in stranger.ips() {
        for args in [&[][..], &["--device", "eth0"], &["--mapped"], &["--how", "mptcp"]] {
            assert!(!is_proxied(&mesh, &pod, (ip, 7), args), "{ip} {args:?}: excluded, and proxied");
            assert!(is_proxied(&mesh, &pod, (ip, 8), args), "{ip} {args:?}: not excluded, and not proxied");
        }
    }
    assert!(mesh.counted("guard", "passed: excluded") >= 2);
}

#[test]
fn exclusions_hold_for_new_connections_and_change_live() {
    let mesh = mesh_with("live", ALL_ALLOWED);
    let (pod, stranger) = (mesh.pod("pod"), mesh.stranger("stranger"));
    let _listening = [echo(&stranger, 7), echo(&pod, 7)];
    // Out, in, and out by the guard.
    let dial_all = |excluded: bool| {
        let mut connections = Vec::new();
        for (from, to, args) in
            [(&pod, &stranger, &[][..]), (&stranger, &pod, &[]), (&pod, &stranger, &["--device", "eth0"])]
        {
            for ip in to.ips() {
                let (mut connection, local) = dial(from, (ip, 7), args);
                connection.ping("hello").unwrap();
                assert_eq!(mesh.is_proxied(local), !excluded, "{} to {ip} {args:?}", from.name());
                connections.push((connection, local));
            }
        }
        connections
    };
    let annotate = |value: Option<&str>, expected: &[&str]| {
        for annotation in [OUTBOUND_PORTS, INBOUND_PORTS] {
            pod.annotate(annotation, value).unwrap();
        }
        wait_in_force(&mesh, &pod, expected);
    };
    let mut captured = dial_all(false);
    annotate(Some("7"), &["exclude-outbound-ports 7", "exclude-inbound-ports 7"]);
    let mut excluded = dial_all(true);
    assert_eq!(row(&mesh, &pod)["older_connections"], 0, "what is excluded is not older");
    // Another form of the same.
    annotate(Some("6-7"), &["exclude-outbound-ports 6-7", "exclude-inbound-ports 6-7"]);
    excluded.extend(dial_all(true));
    annotate(None, &[]);
    captured.extend(dial_all(false));
    for (connection, local) in &mut captured {
        connection.ping("captured, and goes on").unwrap();
        assert!(mesh.is_proxied(*local));
    }
    for (connection, _) in &mut excluded {
        connection.ping("excluded, and goes on").unwrap();
    }
    // They are outside the mesh now, like those from before.
    assert_eq!(row(&mesh, &pod)["older_connections"], excluded.len());
}

#[test]
fn no_connection_is_captured_while_its_exclusion_changes_form() {
    let mesh = mesh_with("form", ALL_ALLOWED);
    let pod = mesh.node.pod(NAMESPACE, "pod").annotation(OUTBOUND_PORTS, "7").start().unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    let stranger = mesh.stranger("stranger");
    let _listening = echo(&stranger, 7);
    let load = pod.load((stranger.v4(), 7).into(), &["--pause-ms", "1"]).unwrap();
    for _ in 0..10 {
        for (annotation, ports) in
            [(Some("4-7"), "exclude-outbound-ports 4-7"), (Some("7"), "exclude-outbound-ports 7")]
        {
            pod.annotate(OUTBOUND_PORTS, annotation).unwrap();
            wait_in_force(&mesh, &pod, &[ports]);
        }
    }
    let told = load.stop().unwrap();
    assert_eq!(mesh.counted("connect", "passed: excluded"), told["connections"].as_u64().unwrap(), "{told}");
    assert_eq!(mesh.counted("connect", "captured"), 0, "{told}");
}

#[test]
fn a_pod_excludes_only_what_it_may() {
    let mesh = mesh_with("allowed", "allow-overrides: [exclude-inbound-ports]");
    let pod = mesh
        .node
        .pod(NAMESPACE, "pod")
        .annotation(OUTBOUND_PORTS, "7")
        .annotation(INBOUND_PORTS, "7")
        .start()
        .unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    let stranger = mesh.stranger("stranger");
    let _listening = [echo(&stranger, 7), echo(&pod, 7)];
    assert!(is_proxied(&mesh, &pod, (stranger.v4(), 7), &[]), "stepped out of the mesh");
    assert!(!is_proxied(&mesh, &stranger, (pod.v4(), 7), &[]));
    let told = row(&mesh, &pod);
    assert_eq!(told["exclusions"].as_array().unwrap().len(), 1, "{told}");
    let refused = told["refused_exclusions"][0].as_str().unwrap();
    assert!(refused.contains("does not name exclude-outbound-ports"), "{refused}");
    let table = mesh.agent.cli(&["pods"]).unwrap();
    let words = table.any_stdout().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("1 exclusion") && words.contains("annotation refused"), "{}", table.any_stdout());
    assert!(table.any_stdout().lines().all(|line| line.chars().count() <= 100), "{}", table.any_stdout());
    let status = mesh.ask(&["status"]).to_string();
    assert!(status.contains(OUTBOUND_PORTS), "{status}");

    // What makes no sense leaves what was there.
    pod.annotate(INBOUND_PORTS, Some("7,bananas")).unwrap();
    wait_for(|| row(&mesh, &pod)["refused_exclusions"].as_array().unwrap().len() == 2);
    assert!(!is_proxied(&mesh, &stranger, (pod.v4(), 7), &[]));
    let status = mesh.ask(&["status"]).to_string();
    assert!(status.contains("bananas"), "{status}");
}

#[test]
fn what_is_excluded_passes_without_an_agent_and_with_the_next() {
    let mut mesh = mesh_with("dead", "exclude-outbound-ports: 7, exclude-inbound-ports: 7");
    let (pod, stranger) = (mesh.pod("pod"), mesh.stranger("stranger"));
    let _listening =
        [echo(&stranger, 7), echo(&stranger, 8), echo(&stranger, 9), echo(&pod, 7), echo(&pod, 8)];
    mesh.agent.kill().unwrap();
    let passes = |args: &[&str]| {
        for ip in stranger.ips() {
            dial(&pod, (ip, 7), args).0.ping("out").unwrap();
        }
        for ip in pod.ips() {
            dial(&stranger, (ip, 7), &[]).0.ping("in").unwrap();
        }
    };
    passes(&[]);
    passes(&["--device", "eth0"]);
    for ip in stranger.ips() {
        refused(&pod, (ip, 8));
    }
    for ip in pod.ips() {
        refused(&stranger, (ip, 8));
    }
    let why = mesh.ask(&["why", &pod.full_name(), &format!("{}:7", stranger.v4())]);
    assert_eq!(why["verdict"], "direct", "{why}");
    assert!(
        why["summary"].as_str().unwrap().contains("node configuration exclude-outbound-ports: 7"),
        "{why}"
    );
    assert_eq!(in_force(&mesh, &pod), ["exclude-outbound-ports 7", "exclude-inbound-ports 7"]);

    write_config(&mesh.node, "exclude-outbound-ports: 8-9");
    mesh.agent.launch().unwrap();
    assert_eq!(in_force(&mesh, &pod), ["exclude-outbound-ports 8-9"]);
    for (port, excluded) in [(7, false), (8, true), (9, true)] {
        for ip in stranger.ips() {
            assert_eq!(is_proxied(&mesh, &pod, (ip, port), &[]), !excluded, "{ip} {port}");
        }
    }
    assert!(is_proxied(&mesh, &stranger, (pod.v6(), 7), &[]));

    mesh.label(None);
    mesh.agent.wait_released(&pod).unwrap();
    assert_eq!(mesh.ask(&["maps", "exclusions"]), Value::Array(Vec::new()), "entries are left");
}

#[test]
fn why_names_the_exclusion_and_where_it_comes_from() {
    let mesh = mesh_with(
        "whyexcluded",
        "exclude-outbound-cidrs: 198.51.100.0/24, allow-overrides: [exclude-outbound-ports]",
    );
    let pod = mesh.node.pod(NAMESPACE, "pod").annotation(OUTBOUND_PORTS, "8000-8010").start().unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    for (destination, verdict, evidence) in [
        (
            "198.51.100.1:80",
            "direct",
            "outbound-cidrs] 198.51.100.0/24; node configuration exclude-outbound-cidrs: 198.51.100.0/24",
        ),
        (
            "[2001:db8::1]:8009",
            "direct",
            "outbound-ports] 8008-8009; annotation millstream.dev/exclude-outbound-ports: 8000-8010",
        ),
        ("192.0.2.1:80", "proxied", "open"),
    ] {
        let why = mesh.ask(&["why", &pod.full_name(), destination]);
        assert_eq!(why["verdict"], verdict, "{why}");
        let steps = why["steps"].as_array().unwrap();
        let connect = steps.iter().find(|step| step["stage"] == "connect").unwrap();
        assert!(connect["evidence"].as_str().unwrap().contains(evidence), "{connect}");
    }
}

#[test]
fn all_of_ipv6_is_not_all_of_ipv4() {
    let mesh = mesh_with("allofsix", "exclude-outbound-cidrs: '::/0'");
    let (pod, stranger) = (mesh.pod("pod"), mesh.stranger("stranger"));
    let _listening = echo(&stranger, 7);
    assert!(!is_proxied(&mesh, &pod, (stranger.v6(), 7), &[]));
    for args in [&[][..], &["--mapped"], &["--device", "eth0"]] {
        assert!(is_proxied(&mesh, &pod, (stranger.v4(), 7), args), "{args:?}");
    }
}

#[test]
fn a_full_map_refuses_the_change_and_keeps_what_was_there() {
    let mesh = mesh_with("full", ALL_ALLOWED);
    // Ranges that share few leading bits: 32 of them take as many entries as they can.
    let greedy: Vec<String> = (0..32_u16).map(|n| format!("{}-{}", n * 2048 + 1, n * 2048 + 2046)).collect();
    let greedy = greedy.join(",");
    let pod = mesh.node.pod(NAMESPACE, "pod").annotation(OUTBOUND_PORTS, "7").start().unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    let stranger = mesh.stranger("stranger");
    let _listening = [echo(&stranger, 7), echo(&stranger, 8)];
    let fill = || {
        let maps = mesh.ask(&["maps"]);
        let map = maps.as_array().unwrap().iter().find(|map| map["map"] == "EXCLUSIONS").unwrap().clone();
        (map["entries"].as_u64().unwrap(), map["limit"].as_u64().unwrap())
    };
    let mut pods: Vec<Pod> = Vec::new();
    while fill().0 + 1_280 <= fill().1 {
        let name = format!("greedy{}", pods.len());
        let greedy_pod = mesh
            .node
            .pod(NAMESPACE, &name)
            .annotation(OUTBOUND_PORTS, &greedy)
            .annotation(INBOUND_PORTS, &greedy)
            .start()
            .unwrap();
        mesh.agent.wait_captured(&greedy_pod).unwrap();
        pods.push(greedy_pod);
    }
    let (before, limit) = fill();
    assert!(limit - before < 1_280, "{before} of {limit}");

    pod.edit(|object| {
        for annotation in [OUTBOUND_PORTS, INBOUND_PORTS] {
            object.annotations.insert(annotation.to_owned(), greedy.clone());
        }
    })
    .unwrap();
    wait_for(|| row(&mesh, &pod)["because"].as_str().unwrap().contains("to the full map EXCLUSIONS"));
    assert_eq!(in_force(&mesh, &pod), ["exclude-outbound-ports 7"]);
    assert!(!is_proxied(&mesh, &pod, (stranger.v4(), 7), &[]));
    assert!(is_proxied(&mesh, &pod, (stranger.v4(), 8), &[]));
    assert_eq!(fill().0, before, "entries of the refused change are left");

    // Room comes with the pods that go; the change is tried again by itself.
    for greedy_pod in &pods {
        greedy_pod.label(LABEL, Some("none")).unwrap();
    }
    for greedy_pod in &pods {
        mesh.agent.wait_released(greedy_pod).unwrap();
    }
    wait_for(|| row(&mesh, &pod)["state"] == "captured");
    assert!(!is_proxied(&mesh, &pod, (stranger.v4(), 8), &[]));
}

#[test]
fn a_socket_that_was_refused_dials_again_what_is_excluded() {
    use socket2::{Domain, Socket, Type};
    let mesh = mesh_with("again", "exclude-outbound-ports: 7");
    let (pod, stranger) = (mesh.pod("pod"), mesh.stranger("stranger"));
    let _listening = echo(&stranger, 7);
    let again = pod.exec(|| -> std::io::Result<SocketAddr> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let unknown: SocketAddr = (IpAddr::V4(pod.v4()), 1).into();
        assert!(socket.connect(&unknown.into()).is_err());
        // As it is after a connection that was captured and failed.
        socket.set_mark(0x1000_0000)?;
        socket.connect(&SocketAddr::from((stranger.v4(), 7)).into())?;
        assert_eq!(socket.mark()?, 0, "it would be turned into the proxy");
        socket.local_addr().map(|addr| addr.as_socket().unwrap())
    });
    let local = again.unwrap().unwrap();
    assert!(!mesh.is_proxied(local));
}
