//! The agent dies, and comes back, or does not.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use harness::{AgentOptions, Connected, Pod};
use serde_json::{Value, json};

use crate::{
    mesh::{LABEL, Mesh, NAMESPACE, assert_same, dial, echo, fingerprint, refused},
    steering::wait_for,
};

#[test]
fn closed_pods_refuse_at_once_and_come_back_with_the_agent() {
    let mut mesh = Mesh::labelled("closed");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let stranger = mesh.stranger("stranger");
    let (_captured, mut direct) = (echo(&server, 7), echo(&stranger, 7));
    mesh.agent.kill().unwrap();
    for pod in [&server, &stranger] {
        for ip in pod.ips() {
            let Connected::No { elapsed, .. } = refused(&client, (ip, 7)) else { unreachable!() };
            assert!(elapsed < Duration::from_secs(1), "refused after {elapsed:?}");
        }
    }
    // Inbound: the kernel answers RST.
    for ip in server.ips() {
        refused(&stranger, (ip, 7));
    }
    // What was never captured goes on.
    for ip in server.ips().into_iter().chain(["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()]) {
        dial(&server, (ip, 7), &[]).0.ping("own").unwrap();
    }
    dial(&stranger, (stranger.v4(), 7), &[]).0.ping("outside").unwrap();
    assert_eq!(direct.accepted().unwrap().ip(), IpAddr::V4(stranger.v4()), "somebody got round the mesh");

    mesh.agent.launch().unwrap();
    for ip in server.ips() {
        let (mut connection, local) = dial(&client, (ip, 7), &[]);
        connection.ping("back").unwrap();
        assert!(mesh.is_proxied(local));
    }
}

#[test]
fn open_pods_go_direct_meanwhile() {
    let mut mesh = Mesh::labelled("open");
    mesh.lab.annotate_namespace(NAMESPACE, "millstream.dev/when-agent-down", Some("open")).unwrap();
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let stranger = mesh.stranger("stranger");
    let mut listening = echo(&server, 7);
    let (mut connection, local) = dial(&client, (server.v4(), 7), &[]);
    connection.ping("with the agent").unwrap();
    assert!(mesh.is_proxied(local));
    connection.finish().unwrap();
    listening.accepted().unwrap();

    mesh.agent.kill().unwrap();
    for ip in server.ips() {
        for (from, name) in [(&client, "client"), (&stranger, "stranger")] {
            let (mut connection, local) = dial(from, (ip, 7), &[]);
            connection.ping("without").unwrap();
            assert_eq!(listening.accepted().unwrap(), local, "{name}: not direct");
        }
    }
    mesh.agent.launch().unwrap();
    let (mut connection, local) = dial(&client, (server.v4(), 7), &[]);
    connection.ping("with it again").unwrap();
    assert!(mesh.is_proxied(local));
}

#[test]
fn a_closed_pod_never_gets_round_the_mesh_while_the_agent_restarts() {
    let mut mesh = Mesh::labelled("gap");
    let client = mesh.pod("client");
    let stranger = mesh.stranger("stranger");
    let _listening = echo(&stranger, 7);
    let load = client.load((stranger.v4(), 7).into(), &["--pause-ms", "1"]).unwrap();
    for _ in 0..5 {
        mesh.agent.kill().unwrap();
        mesh.agent.launch().unwrap();
    }
    let told = load.stop().unwrap();
    let succeeded = told["connections"].as_u64().unwrap();
    let failed: u64 = told["failures"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    let [captured, refused] = ["captured", "refused: agent down, closed"].map(|o| mesh.counted("connect", o));
    assert!(captured > 0 && refused > 0, "the load was over too soon: {told}");
    // One the programs did not count is one that they did not see as a captured pod's.
    assert_eq!(captured + refused, succeeded + failed, "{told}");
}

#[test]
fn the_next_agent_releases_what_lost_its_label_meanwhile() {
    let mut mesh = Mesh::unlabelled("meanwhile");
    let pod = mesh.node.pod(NAMESPACE, "pod").start().unwrap();
    let stays = mesh.node.pod(NAMESPACE, "stays").label(LABEL, "ambient").start().unwrap();
    let before = fingerprint(&pod);
    mesh.label(Some("ambient"));
    for pod in [&pod, &stays] {
        mesh.agent.wait_captured(pod).unwrap();
    }
    mesh.agent.kill().unwrap();
    mesh.label(None);
    mesh.agent.launch().unwrap();
    mesh.agent.wait_released(&pod).unwrap();
    assert_same(&fingerprint(&pod), &before);
    mesh.agent.wait_captured(&stays).unwrap();
}

#[test]
fn cleanup_after_a_sigkill_removes_every_trace() {
    let mut mesh = Mesh::unlabelled("cleanup");
    let pod = mesh.node.pod(NAMESPACE, "pod").start().unwrap();
    let stranger = mesh.stranger("stranger");
    let _listening = echo(&stranger, 7);
    let before = fingerprint(&pod);
    mesh.label(Some("ambient"));
    mesh.agent.wait_captured(&pod).unwrap();

    let running = mesh.agent.cli(&["cleanup"]).unwrap();
    assert_eq!(running.code(), Some(2), "cleaned up under a running agent");
    assert!(running.stderr.contains("stop it first"), "{}", running.stderr);
    mesh.agent.kill().unwrap();
    refused(&pod, (stranger.v4(), 7));
    let cleaned = mesh.agent.json(&["cleanup"]).unwrap();
    assert_eq!(cleaned[0]["ok"], true, "{cleaned}");
    assert_same(&fingerprint(&pod), &before);
    assert!(!mesh.node.pin_dir().exists(), "pins are left");
    assert!(!mesh.node.run_dir().exists(), "the run directory is left");
    dial(&pod, (stranger.v4(), 7), &[]).0.ping("free").unwrap();
    // Twice is as good as once.
    assert_eq!(mesh.agent.cli(&["cleanup"]).unwrap().code(), Some(0));
}

#[test]
fn cleanup_takes_the_plugin_of_a_dead_agent_out_of_the_chain_and_that_of_no_other() {
    let mut mesh = Mesh::labelled("unchained");
    mesh.agent.kill().unwrap();
    let run_dir = mesh.node.run_dir().to_owned();
    let folder = |name: &str| {
        let path = run_dir.with_file_name(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (conf, bin, state) = (folder("net.d"), folder("bin"), folder("state"));
    let (conflist, plugin) = (conf.join("10-net.conflist"), bin.join("millstream-cni"));
    let standing = state.join("standing.json");
    let primary = r#"{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "ptp"}]}"#;
    let folders = [&conf, &bin].map(|dir| dir.to_str().unwrap());
    let cleanup = ["cleanup", "--cni-conf-dir", folders[0], "--cni-bin-dir", folders[1]];
    // Of what is its own, the second time, nothing else is left.
    for (name, of, is_removed) in
        [("of another agent", Path::new("/run/another"), false), ("of this one", &run_dir, true)]
    {
        let entry = json!({ "type": "millstream-cni", "runDir": of, "stateDir": state, "capabilities": {} });
        let chained = primary.replace("}]", &format!("}}, {entry}]"));
        fs::write(&conflist, &chained).unwrap();
        fs::write(&plugin, "").unwrap();
        fs::write(&standing, "{}").unwrap();
        mesh.agent.cli(&cleanup).unwrap().stdout().unwrap();
        let expected = if is_removed { primary } else { &chained };
        assert_eq!(fs::read_to_string(&conflist).unwrap(), expected, "{name}");
        assert_eq!((plugin.exists(), standing.exists()), (!is_removed, !is_removed), "{name}");
        assert!(!run_dir.exists(), "{name}");
    }
}

#[test]
fn a_configuration_that_only_the_agent_could_read_is_named_and_the_rest_is_told() {
    let mut mesh = Mesh::configured("unread", "same-node: wire");
    fs::remove_file(mesh.node.run_dir().with_file_name("config.yaml")).unwrap();
    mesh.pod("pod");
    mesh.agent.kill().unwrap();
    let told = mesh.agent.cli(&["status", "--output", "json"]).unwrap();
    assert_eq!(told.code(), Some(1), "{}", told.stderr);
    let status: Value = serde_json::from_str(told.any_stdout()).unwrap();
    assert_eq!(status["agent"], "down");
    let problems = status["problems"].to_string();
    for words in
        ["the agent is down", "cannot read", "nothing is known of the cluster", "the agent's container"]
    {
        assert!(problems.contains(words), "no {words:?} in {problems}");
    }
}

#[test]
fn agents_of_two_nodes_share_a_kernel_and_nothing_else() {
    let mut mesh = Mesh::labelled("neighbours");
    let other_node = mesh.lab.node("b").unwrap();
    let other = other_node.agent(AgentOptions::default()).unwrap();
    let here = mesh.pod("here");
    let pods: Vec<Pod> =
        ["client", "server"].map(|name| other_node.pod(NAMESPACE, name).start().unwrap()).into();
    for pod in &pods {
        other.wait_captured(pod).unwrap();
    }
    let _listening = echo(&pods[1], 7);
    mesh.agent.kill().unwrap();
    refused(&here, (pods[1].v4(), 7));
    dial(&pods[0], (pods[1].v4(), 7), &[]).0.ping("unharmed").unwrap();
    mesh.agent.cli(&["cleanup"]).unwrap().stdout().unwrap();
    let (mut connection, _) = dial(&pods[0], (pods[1].v4(), 7), &[]);
    connection.ping("still unharmed").unwrap();
    assert_eq!(other.json(&["status"]).unwrap()["pods"]["captured"], 2);
}

#[test]
fn the_command_line_knows_what_a_dead_agent_left() {
    let mut mesh = Mesh::labelled("offline");
    let pod = mesh.pod("pod");
    let name = pod.full_name();
    mesh.agent.kill().unwrap();
    for (args, code) in [
        (&["status"][..], 1),
        (&["pods"], 0),
        (&["services"], 0),
        (&["connections"], 2),
        (&["maps"], 0),
        (&["maps", "pods"], 0),
        (&["maps", "sockets"], 0),
        (&["maps", "counters"], 0),
        (&["why", &name, "192.0.2.1:80"], 1),
        (&["why", &name, "127.0.0.1:80"], 0),
        (&["log", "debug"], 2),
        (&["wait", "ready", "--timeout", "50ms"], 1),
        (&["check"], 0),
    ] {
        let output = mesh.agent.cli(args).unwrap();
        assert_eq!(output.code(), Some(code), "{args:?}: {}{}", output.any_stdout(), output.stderr);
    }
    let why = mesh.agent.cli(&["why", &name, "192.0.2.1:80"]).unwrap();
    assert!(why.any_stdout().contains("refused: no agent is running"), "{}", why.any_stdout());
    let pods = mesh.agent.json(&["maps", "pods"]).unwrap();
    assert_eq!(pods[0]["pod"], name);
    assert_eq!(pods[0]["listeners"], serde_json::json!([]));
    wait_for(|| mesh.agent.json(&["maps", "sockets"]).unwrap().as_array().unwrap().is_empty());
}

#[test]
fn an_agent_with_another_map_layout_takes_over() {
    let mut mesh = Mesh::labelled("layout");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _listening = echo(&server, 7);
    let load = client.load((server.v4(), 7).into(), &["--pause-ms", "1"]).unwrap();
    mesh.agent.kill().unwrap();
    // As if the agent before had been of an older version.
    let pins = mesh.node.pin_dir();
    let maps =
        fs::read_dir(&pins).unwrap().flatten().map(|e| e.path()).find(|p| !p.ends_with("links")).unwrap();
    fs::rename(maps, pins.join("v0")).unwrap();
    mesh.agent.launch().unwrap();
    assert!(!pins.join("v0").exists(), "maps of another version are left");
    let (mut connection, local) = dial(&client, (server.v4(), 7), &[]);
    connection.ping("captured").unwrap();
    assert!(mesh.is_proxied(local));
    load.stop().unwrap();
    // A gap would have shown: the server's pod is captured too, and what does not come through the proxy of the
    // client is an inbound connection there.
    assert_eq!(mesh.counted("steer", "to inbound listener"), 0, "somebody got round the mesh");
}
