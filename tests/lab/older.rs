//! Connections older than the capture of their pod: counted, and reset only on request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use harness::{Client, Pod};

use crate::{
    mesh::{Mesh, NAMESPACE, dial, echo},
    steering::wait_for,
};

const EXISTING_CONNECTIONS: &str = "millstream.dev/existing-connections";

/// Dials and sees one line come back, so that both ends are established.
#[track_caller]
fn talk(pod: &Pod, addr: impl Into<SocketAddr>, args: &[&str]) -> (Client, SocketAddr) {
    let (mut client, local) = dial(pod, addr, args);
    client.ping("hello").unwrap();
    (client, local)
}

/// What `millstream pods` counts.
#[track_caller]
fn older(mesh: &Mesh, pod: &Pod) -> Option<u64> {
    let rows = mesh.ask(&["pods"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["uid"] == *pod.uid()).unwrap();
    row["older_connections"].as_u64()
}

/// The sentence of `millstream why`, if it has one.
fn why(mesh: &Mesh, pod: &Pod) -> Option<String> {
    let why = mesh.ask(&["why", &pod.full_name(), "192.0.2.1:80"]);
    let step = why["steps"].as_array().unwrap().iter().find(|step| step["stage"] == "older")?;
    Some(format!("{}: {}", step["decision"].as_str().unwrap(), step["evidence"].as_str().unwrap()))
}

fn capture(mesh: &Mesh, pods: &[&Pod]) {
    mesh.label(Some("ambient"));
    for pod in pods {
        mesh.agent.wait_captured(pod).unwrap();
    }
}

/// A connection that was reset at this end or the other; which of the two is told by the error.
#[track_caller]
fn assert_cut(client: Client) {
    let end = client.outcome().unwrap();
    // ENOTCONN and EPIPE where it learns of the reset by trying to end its own direction.
    let cut = ["ECONNRESET", "ECONNABORTED", "ENOTCONN", "EPIPE"];
    assert!(end["error"].as_str().is_some_and(|error| cut.contains(&error)), "{end}");
}

#[test]
fn connections_older_than_capture_are_counted_until_they_end() {
    let mesh = Mesh::unlabelled("older");
    let client = mesh.node.pod(NAMESPACE, "client").start().unwrap();
    let server = mesh.node.pod(NAMESPACE, "server").start().unwrap();
    let stranger = mesh.stranger("stranger");
    let (_listening, _outside) = (echo(&server, 7), echo(&stranger, 7));
    let older_ones: Vec<Client> = [
        talk(&client, (server.v4(), 7), &[]),
        talk(&client, (server.v6(), 7), &[]),
        talk(&client, (server.v4(), 7), &["--mapped"]),
        talk(&client, (stranger.v4(), 7), &[]),
        talk(&stranger, (server.v6(), 7), &[]),
    ]
    .into_iter()
    .map(|(client, _)| client)
    .collect();
    assert_eq!(older(&mesh, &client), None, "counted in a pod that is not captured");

    capture(&mesh, &[&client, &server]);
    assert_eq!([older(&mesh, &client), older(&mesh, &server)], [Some(4), Some(4)]);
    let table = mesh.agent.cli(&["pods"]).unwrap();
    assert!(table.any_stdout().contains("captured (0 connections, 4"), "{}", table.any_stdout());
    let sentence = why(&mesh, &client).unwrap();
    assert!(sentence.starts_with("4 connections are older and not captured"), "{sentence}");
    assert!(sentence.contains("millstream.dev/existing-connections: reset"), "{sentence}");

    for (ended, mut client) in older_ones.into_iter().enumerate() {
        client.ping("still direct").unwrap_or_else(|e| panic!("{ended}: {e:#}"));
        client.finish().unwrap().stdout().unwrap();
    }
    wait_for(|| [older(&mesh, &client), older(&mesh, &server)] == [Some(0), Some(0)]);
    assert_eq!(why(&mesh, &client), None);
    let table = mesh.agent.cli(&["pods"]).unwrap();
    assert!(table.any_stdout().contains("captured (0 connections)"), "{}", table.any_stdout());
}

#[test]
fn captured_connections_and_a_pods_own_are_not_counted_as_older() {
    let mesh = Mesh::unlabelled("notolder");
    let client = mesh.node.pod(NAMESPACE, "client").start().unwrap();
    let server = mesh.node.pod(NAMESPACE, "server").start().unwrap();
    let stranger = mesh.stranger("stranger");
    let _listening = [&client, &server, &stranger].map(|pod| echo(pod, 7));
    let added: IpAddr = "192.0.2.77".parse().unwrap();
    client.add_address(added).unwrap();
    let own = client.ips().into_iter().chain([
        added,
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ]);
    let mut open: Vec<Client> = own.clone().map(|ip| talk(&client, (ip, 7), &[]).0).collect();

    capture(&mesh, &[&client, &server]);
    // Such ones from before and from after.
    open.extend(own.map(|ip| talk(&client, (ip, 7), &[]).0));
    for (from, to) in [(&client, &server), (&client, &stranger), (&stranger, &server)] {
        for ip in to.ips() {
            let (connection, local) = talk(from, (ip, 7), &[]);
            assert!(mesh.is_proxied(local), "{} to {ip}", from.name());
            open.push(connection);
        }
    }
    let (connection, _) = talk(&client, (server.v4(), 7), &["--how", "mptcp"]);
    open.push(connection);
    assert_eq!([older(&mesh, &client), older(&mesh, &server)], [Some(0), Some(0)]);
    // Nor while they end.
    drop(open);
    assert_eq!([older(&mesh, &client), older(&mesh, &server)], [Some(0), Some(0)]);
}

#[test]
fn the_count_is_right_without_an_agent_and_with_the_next() {
    let mut mesh = Mesh::unlabelled("oldernext");
    let client = mesh.node.pod(NAMESPACE, "client").start().unwrap();
    let server = mesh.node.pod(NAMESPACE, "server").start().unwrap();
    let _listening = echo(&server, 7);
    let (mut kept, _) = talk(&client, (server.v4(), 7), &[]);
    capture(&mesh, &[&client, &server]);
    let (_captured, local) = talk(&client, (server.v4(), 7), &[]);
    assert!(mesh.is_proxied(local));
    assert_eq!([older(&mesh, &client), older(&mesh, &server)], [Some(1), Some(1)]);

    mesh.agent.kill().unwrap();
    wait_for(|| [older(&mesh, &client), older(&mesh, &server)] == [Some(1), Some(1)]);
    assert!(why(&mesh, &client).unwrap().starts_with("1 connection is older"));
    mesh.agent.launch().unwrap();
    let (_captured, local) = talk(&client, (server.v6(), 7), &[]);
    assert!(mesh.is_proxied(local));
    assert_eq!([older(&mesh, &client), older(&mesh, &server)], [Some(1), Some(1)]);
    kept.ping("never touched").unwrap();
}

#[test]
fn older_connections_are_reset_where_the_pod_or_its_namespace_says_so() {
    let mesh = Mesh::unlabelled("olderreset");
    mesh.lab.annotate_namespace(NAMESPACE, EXISTING_CONNECTIONS, Some("reset")).unwrap();
    let client = mesh.node.pod(NAMESPACE, "client").start().unwrap();
    let keeper = mesh.node.pod(NAMESPACE, "keeper").annotation(EXISTING_CONNECTIONS, "keep").start().unwrap();
    let stranger = mesh.stranger("stranger");
    let (mut outside, _own) = (echo(&stranger, 7), echo(&client, 7));
    let mut kept = [
        talk(&keeper, (stranger.v4(), 7), &[]).0,
        talk(&client, (Ipv4Addr::LOCALHOST, 7), &[]).0,
        talk(&client, (client.v6(), 7), &[]).0,
    ];
    let cut = [
        talk(&client, (stranger.v4(), 7), &[]),
        talk(&client, (stranger.v6(), 7), &[]),
        talk(&client, (stranger.v4(), 7), &["--mapped"]),
    ];
    let inbound = [talk(&stranger, (client.v4(), 7), &[]).0, talk(&stranger, (client.v6(), 7), &[]).0];

    capture(&mesh, &[&client, &keeper]);
    // The stranger, whose namespace nobody labelled, learns of it as well.
    for _ in &cut {
        assert_eq!(outside.closed().unwrap()["error"], "ECONNRESET");
    }
    for client in cut.into_iter().map(|(client, _)| client).chain(inbound) {
        assert_cut(client);
    }
    assert_eq!([older(&mesh, &client), older(&mesh, &keeper)], [Some(0), Some(1)]);
    for connection in &mut kept {
        connection.ping("kept").unwrap();
    }
    for ip in stranger.ips() {
        let (_new, local) = talk(&client, (ip, 7), &[]);
        assert!(mesh.is_proxied(local));
    }
    let log = mesh.agent.log().unwrap();
    let told = log.lines().filter(|line| line.contains("Connections older than capture reset"));
    let told: Vec<serde_json::Value> = told.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["connections"], 5, "{told:?}");
}

#[test]
fn older_connections_are_reset_once_and_only_those() {
    let mut mesh = Mesh::unlabelled("olderonce");
    mesh.lab.annotate_namespace(NAMESPACE, "millstream.dev/when-agent-down", Some("open")).unwrap();
    let client = mesh.node.pod(NAMESPACE, "client").start().unwrap();
    let stranger = mesh.stranger("stranger");
    let _outside = echo(&stranger, 7);
    let (older_one, _) = talk(&client, (stranger.v4(), 7), &[]);
    capture(&mesh, &[&client]);
    let (mut captured, local) = talk(&client, (stranger.v4(), 7), &[]);
    assert!(mesh.is_proxied(local));
    assert_eq!(older(&mesh, &client), Some(1));

    // Asked for when the pod is captured already.
    client.annotate(EXISTING_CONNECTIONS, Some("reset")).unwrap();
    wait_for(|| older(&mesh, &client) == Some(0));
    assert_cut(older_one);
    captured.ping("not cut with the older one").unwrap();

    // What was dialled while no agent ran is counted, and outlives the next agent's coming.
    mesh.agent.kill().unwrap();
    let (mut direct, _) = talk(&client, (stranger.v4(), 7), &[]);
    mesh.agent.launch().unwrap();
    mesh.agent.wait_captured(&client).unwrap();
    direct.ping("dialled while no agent ran").unwrap();
    assert_eq!(older(&mesh, &client), Some(1));
    assert!(why(&mesh, &client).unwrap().contains("no agent ran"));
}

#[test]
fn an_unknown_wish_for_older_connections_keeps_them_and_is_reported() {
    let mesh = Mesh::unlabelled("olderwish");
    mesh.lab.annotate_namespace(NAMESPACE, EXISTING_CONNECTIONS, Some("reset")).unwrap();
    let client = mesh.node.pod(NAMESPACE, "client").annotation(EXISTING_CONNECTIONS, "rset").start().unwrap();
    let stranger = mesh.stranger("stranger");
    let _outside = echo(&stranger, 7);
    let (mut kept, _) = talk(&client, (stranger.v4(), 7), &[]);
    capture(&mesh, &[&client]);
    kept.ping("kept").unwrap();
    assert_eq!(older(&mesh, &client), Some(1));
    let refused = mesh.ask(&["status"])["refused"].to_string();
    assert!(refused.contains("is not one of keep, reset; keep is used"), "{refused}");
}
