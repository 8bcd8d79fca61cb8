//! The agent lives, and does nothing: pods meet what they meet while no agent runs, until it goes on.

use harness::{Connected, Pod};

use crate::{
    mesh::{LABEL, Mesh, dial, echo, refused},
    steering::wait_for,
};

/// An agent that counts as dead soon.
fn mesh(name: &str) -> Mesh {
    Mesh::configured(name, "canary: {dead-after: 1s}")
}

/// Until it is found the kernel goes on completing handshakes.
fn wait_until_refused(client: &Pod, server: &Pod) {
    let is_refused = || {
        let connected = client.dial((server.v4(), 7).into(), &[]).unwrap().connected().unwrap();
        matches!(connected, Connected::No { error, .. } if error == "ECONNREFUSED")
    };
    wait_for(is_refused);
}

fn is_served(mesh: &Mesh, client: &Pod, server: &Pod) -> bool {
    let Ok(mut dialled) = client.dial((server.v4(), 7).into(), &[]) else { return false };
    match dialled.connected() {
        Ok(Connected::Yes { local, .. }) => dialled.ping("back").is_ok() && mesh.is_proxied(local),
        _ => false,
    }
}

#[test]
fn a_stopped_agent_counts_as_dead_until_it_goes_on() {
    let mesh = mesh("stopped");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let stranger = mesh.stranger("stranger");
    mesh.lab.annotate_namespace("open", "millstream.dev/when-agent-down", Some("open")).unwrap();
    mesh.lab.label_namespace("open", LABEL, Some("ambient")).unwrap();
    let open = mesh.node.pod("open", "open").start().unwrap();
    mesh.agent.wait_captured(&open).unwrap();
    let (_captured, mut direct) = (echo(&server, 7), echo(&stranger, 7));
    let (mut before, _) = dial(&client, (server.v4(), 7), &[]);
    before.ping("before").unwrap();

    mesh.agent.stop().unwrap();
    wait_until_refused(&client, &server);
    for ip in server.ips() {
        refused(&client, (ip, 7));
        refused(&stranger, (ip, 7));
    }
    let (mut round, local) = dial(&open, (stranger.v4(), 7), &[]);
    round.ping("direct").unwrap();
    assert_eq!(direct.accepted().unwrap(), local, "a pod that is open goes direct");

    let status = mesh.ask(&["status"]);
    assert_eq!(status["agent"], "stuck", "{status}");
    assert_eq!(status["pid"], mesh.agent.pid().unwrap(), "{status}");
    let why = mesh.ask(&["why", "shop/client", &format!("{}:7", server.v4())]);
    assert_eq!(why["verdict"], "refused", "{why}");
    assert!(why.to_string().contains("PULSE ran out"), "{why}");
    let pods = mesh.agent.cli(&["maps", "pods"]).unwrap();
    assert!(pods.stdout().unwrap().contains("agent stuck"), "{pods:?}");

    mesh.agent.go_on().unwrap();
    wait_for(|| is_served(&mesh, &client, &server));
    before.ping("after").unwrap();
    assert_eq!(mesh.ask(&["status"])["agent"], "running");
}

#[test]
fn an_agent_whose_threads_are_stuck_is_found_by_its_canary() {
    let mesh = mesh("deadlock");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _listening = echo(&server, 7);
    let held = mesh.agent.deadlock().unwrap();
    wait_until_refused(&client, &server);
    // The canary's own thread runs, and says so.
    wait_for(|| mesh.agent.log().unwrap().contains("does not answer its canary"));
    drop(held);
    wait_for(|| is_served(&mesh, &client, &server));
    wait_for(|| mesh.agent.log().unwrap().contains("answers its canary again"));
}
