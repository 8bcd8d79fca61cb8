//! Two agents of a node overlap, as in an upgrade of the DaemonSet with surge.

use std::{mem, net::SocketAddr, thread, time::Duration};

use harness::{AgentOptions, Mode};
use serde_json::{Value, json};

use crate::{
    mesh::{Mesh, NAMESPACE, dial, echo},
    steering::wait_for,
};

const PORT: u16 = 7;
/// Where the machine itself would be too slow, the load fails instead of hanging.
const LONGEST: Duration = Duration::from_secs(120);

fn generation(mesh: &Mesh) -> u64 {
    mesh.ask(&["status"])["generation"].as_u64().unwrap()
}

#[test]
fn no_connection_is_refused_and_none_is_cut_while_agents_overlap() {
    let mut mesh = Mesh::labelled("overlap");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _server = server.serve(Mode::Crowd, PORT).unwrap();
    let _echo = echo(&server, 9);
    let addr = SocketAddr::from((server.v4(), PORT));
    let (mut old, local) = dial(&client, (server.v4(), 9), &[]);
    old.ping("before").unwrap();
    let load = client.load(addr, &["--workers", "4", "--rate", "200", "--count", "1600"]).unwrap();
    assert_eq!(generation(&mesh), 1);

    let mut newer = mesh.agent.successor("newer").unwrap();
    assert_eq!(generation(&mesh), 2);
    old.ping("through the older agent").unwrap();
    assert!(!mesh.is_proxied(local), "the newer one does not have it");
    let (mut new, local) = dial(&client, (server.v4(), 9), &[]);
    new.ping("through the newer agent").unwrap();
    assert!(mesh.is_proxied(local));

    let outcome = load.outcome(LONGEST).unwrap();
    assert_eq!((&outcome["connections"], &outcome["failures"]), (&json!(1600), &json!({})), "{outcome}");
    old.finish().unwrap();
    mesh.agent.terminate().unwrap();
    new.ping("after the older agent's end").unwrap();
    new.finish().unwrap();
    assert_eq!(mesh.ask(&["status"])["pods"]["captured"], 2);
    newer.terminate().unwrap();
}

#[test]
fn a_pod_that_is_released_meanwhile_keeps_the_connections_of_the_older_agent() {
    let mut mesh = Mesh::labelled("meanwhile");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _echo = echo(&server, 9);
    let (mut old, _) = dial(&client, (server.v4(), 9), &[]);
    old.ping("before").unwrap();
    let newer = mesh.agent.successor("newer").unwrap();
    mesh.label(None);
    wait_for(|| newer.log().unwrap().contains("Pod is being released"));
    // Longer than a release lingers.
    thread::sleep(Duration::from_secs(1));
    old.ping("through the older agent").unwrap();
    old.finish().unwrap();
    mesh.agent.terminate().unwrap();
    for pod in [&client, &server] {
        newer.wait_released(pod).unwrap();
    }
}

/// The CNI plugin told the older agent of it, and the kubelet tells the cluster its addresses only when it runs.
#[test]
fn a_pod_whose_addresses_are_not_shown_yet_stays_captured() {
    let mut mesh = Mesh::labelled("arriving");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _echo = echo(&server, 9);
    mesh.agent.kill().unwrap();
    let mut ips = Vec::new();
    client.edit(|object| ips = mem::take(&mut object.ips)).unwrap();
    mesh.agent.launch().unwrap();
    let (mut connection, local) = dial(&client, (server.v4(), 9), &[]);
    connection.ping("before its addresses are shown").unwrap();
    let rows = mesh.ask(&["connections"]);
    let is_its_own = |row: &Value| row["direction"] == "outbound" && row["client"] == local.to_string();
    assert!(rows.as_array().unwrap().iter().any(is_its_own), "{rows}");

    client.edit(|object| object.ips = ips).unwrap();
    wait_for(|| mesh.ask(&["status"])["pods"]["captured"] == 2);
    connection.ping("after that").unwrap();
    let log = mesh.agent.log().unwrap();
    assert!(!log.contains("released"), "{log}");
}

/// It holds its lock and its sockets, and answers nothing.
#[test]
fn an_older_agent_that_is_stopped_is_replaced_and_changes_nothing_when_it_wakes() {
    let mesh = Mesh::labelled("usurped");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _echo = echo(&server, 9);
    mesh.agent.stop().unwrap();
    let newer = mesh.agent.successor("newer").unwrap();
    let (mut connection, local) = dial(&client, (server.v4(), 9), &[]);
    connection.ping("through the newer agent").unwrap();
    assert!(mesh.is_proxied(local));

    mesh.agent.go_on().unwrap();
    wait_for(|| newer.log().unwrap().contains("A newer agent works on this node"));
    mesh.label(None);
    connection.ping("still").unwrap();
    connection.finish().unwrap();
    drop(mesh.agent);
    for pod in [&client, &server] {
        newer.wait_released(pod).unwrap();
    }
}

#[test]
fn an_older_agent_takes_the_node_back_when_the_newer_one_is_gone() {
    let mesh = Mesh::labelled("recalled");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _echo = echo(&server, 9);
    let mut newer = mesh.agent.successor("newer").unwrap();
    newer.kill().unwrap();
    wait_for(|| generation(&mesh) == 3);
    mesh.agent.wait(&["ready"]).unwrap();
    let (mut connection, local) = dial(&client, (server.v4(), 9), &[]);
    connection.ping("through the older agent again").unwrap();
    assert!(mesh.is_proxied(local));
}

#[test]
fn a_newer_agent_that_keeps_crashing_leaves_the_older_one_alone_while_that_works() {
    let mut mesh = Mesh::labelled("deferring");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _echo = echo(&server, 9);
    // As its supervisor would start it.
    let newer = mesh.agent.beside("newer", AgentOptions::default().env("MILLSTREAM_CRASHES", "9")).unwrap();
    wait_for(|| newer.log().unwrap().contains("the other is left alone for a while"));
    assert_eq!(generation(&mesh), 1);
    let (mut connection, local) = dial(&client, (server.v4(), 9), &[]);
    connection.ping("through the older agent").unwrap();
    assert!(mesh.is_proxied(local));

    mesh.agent.kill().unwrap();
    newer.wait(&["ready", "--instance", "newer"]).unwrap();
    assert_eq!(generation(&mesh), 2);
    let (mut connection, local) = dial(&client, (server.v4(), 9), &[]);
    connection.ping("through the newer agent").unwrap();
    assert!(mesh.is_proxied(local));
}

#[test]
fn an_agent_of_another_node_cannot_have_the_run_directory() {
    let mesh = Mesh::labelled("foreign");
    let _pod = mesh.pod("pod");
    let source = format!("file:{}", mesh.lab.manifests().display());
    let other = mesh.agent.cli(&["agent", "--source", &source, "--node", "elsewhere"]).unwrap();
    assert_eq!(other.code(), Some(2));
    assert!(other.stderr.contains("belongs to the agent of node"), "{}", other.stderr);
    assert_eq!(mesh.ask(&["status"])["pods"]["captured"], 1);
    mesh.agent.wait_captured(&mesh.node.pod(NAMESPACE, "later").start().unwrap()).unwrap();
}
