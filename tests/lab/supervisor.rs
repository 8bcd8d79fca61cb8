//! The first process of the container outlives a crash of the agent, and the agent does not outlive it.

use std::{fs, path::PathBuf};

use harness::AgentOptions;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    mesh::{Mesh, dial, echo},
    steering::wait_for,
};

/// Of the agent, not of its supervisor.
fn agent(mesh: &Mesh) -> Option<i32> {
    let status = mesh.ask(&["status"]);
    status["pid"].as_i64().map(|pid| pid.try_into().unwrap())
}

/// What the supervisor has told the agent.
fn crashes(pid: i32) -> String {
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    environment.split('\0').find_map(|entry| entry.strip_prefix("MILLSTREAM_CRASHES=")).unwrap().to_owned()
}

fn runs(pid: i32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}

#[test]
fn a_crashed_agent_is_back_at_once_each_time_and_ends_with_its_supervisor() {
    let mut mesh = Mesh::with("supervised", AgentOptions::default().supervised());
    mesh.label(Some("ambient"));
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _echo = echo(&server, 7);
    for crash in 1..=3 {
        let before = agent(&mesh).unwrap();
        assert_ne!(Some(before.unsigned_abs()), mesh.agent.pid(), "that is the supervisor");
        kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
        wait_for(|| agent(&mesh).is_some_and(|pid| pid != before));
        assert_eq!(crashes(agent(&mesh).unwrap()), crash.to_string());
        mesh.agent.wait(&["ready"]).unwrap();
        let (mut connection, local) = dial(&client, (server.v4(), 7), &[]);
        connection.ping("back").unwrap();
        assert!(mesh.is_proxied(local), "after crash {crash}");
        connection.finish().unwrap();
    }
    let last = agent(&mesh).unwrap();
    assert!(mesh.agent.terminate().unwrap().success(), "told to end, it ends as the agent does");
    assert!(!runs(last));

    mesh.agent.launch().unwrap();
    let last = agent(&mesh).unwrap();
    mesh.agent.kill().unwrap();
    wait_for(|| !runs(last));
}

#[test]
fn a_mistake_is_shown_and_not_tried_again() {
    let mesh = Mesh::unlabelled("mistake");
    let wrong = ["supervise", "--", "agent", "--source", "nowhere", "--node", "n"];
    let output = mesh.agent.cli(&wrong).unwrap();
    assert_eq!(output.code(), Some(2));
    assert!(output.stderr.contains("nowhere"), "{}", output.stderr);
}
