//! Enrolment and release: live, both ways, with nothing broken and nothing left.

use std::fs;

use harness::{Mode, Pod};

use crate::{
    mesh::{Mesh, NAMESPACE, assert_same, dial, echo, fingerprint},
    steering::wait_for,
};

#[test]
fn live_connections_survive_the_label_both_ways() {
    let mesh = Mesh::unlabelled("survive");
    let client = mesh.node.pod(NAMESPACE, "client").start().unwrap();
    let server = mesh.node.pod(NAMESPACE, "server").start().unwrap();
    let _listening = echo(&server, 7);

    let (mut older, address) = dial(&client, (server.v4(), 7), &[]);
    older.ping("before the label").unwrap();
    mesh.label(Some("ambient"));
    for pod in [&client, &server] {
        mesh.agent.wait_captured(pod).unwrap();
    }
    older.ping("after it").unwrap();
    assert!(!mesh.is_proxied(address), "a connection older than enrolment was touched");

    let (mut captured, address) = dial(&client, (server.v4(), 7), &[]);
    captured.ping("captured").unwrap();
    assert!(mesh.is_proxied(address));
    mesh.label(None);
    wait_for(|| state(&mesh, &client) == "releasing" && state(&mesh, &server) == "releasing");
    captured.ping("while released").unwrap();
    let (mut direct, address) = dial(&client, (server.v4(), 7), &[]);
    direct.ping("new ones go direct").unwrap();
    assert!(!mesh.is_proxied(address), "captured after the label was taken away");

    captured.finish().unwrap().stdout().unwrap();
    for pod in [&client, &server] {
        mesh.agent.wait_released(pod).unwrap();
    }
    for connection in [&mut older, &mut direct] {
        connection.ping("at the end").unwrap();
    }
}

#[test]
fn release_leaves_everything_as_it_was() {
    let mesh = Mesh::unlabelled("traces");
    let client = mesh.node.pod(NAMESPACE, "client").start().unwrap();
    let server = mesh.node.pod(NAMESPACE, "server").start().unwrap();
    let _listening = echo(&server, 7);
    // Not everywhere are sysctls at their defaults.
    client.sysctl("net/ipv4/tcp_fwmark_accept", "1").unwrap();
    let before = [fingerprint(&client), fingerprint(&server)];

    mesh.label(Some("ambient"));
    for pod in [&client, &server] {
        mesh.agent.wait_captured(pod).unwrap();
    }
    assert_ne!(fingerprint(&client), before[0], "the fingerprint does not show captures");
    let (connection, _) = dial(&client, (server.v4(), 7), &[]);
    connection.finish().unwrap().stdout().unwrap();

    mesh.label(None);
    for pod in [&client, &server] {
        mesh.agent.wait_released(pod).unwrap();
    }
    for (pod, before) in [&client, &server].into_iter().zip(&before) {
        assert_same(&fingerprint(pod), before);
    }
    for map in ["pods", "sockets"] {
        assert_eq!(mesh.agent.json(&["maps", map]).unwrap().as_array().unwrap().len(), 0, "{map}");
    }
    let links = fs::read_dir(mesh.node.pin_dir().join("links")).unwrap();
    let of_pods = links.flatten().filter(|l| l.file_name().to_string_lossy().contains('-')).count();
    assert_eq!(of_pods, 0, "links are left");
}

#[test]
fn what_is_captured_is_not_captured_again() {
    let mesh = Mesh::labelled("twice");
    let pod = mesh.pod("pod");
    let before = fingerprint(&pod);
    let snapshot = |mesh: &Mesh| mesh.agent.json(&["status"]).unwrap()["snapshot"].as_u64().unwrap();
    let version = snapshot(&mesh);
    // An annotation that means nothing to us, and a service: new snapshots, the same pod.
    pod.annotate("example.com/colour", Some("blue")).unwrap();
    mesh.lab.service(NAMESPACE, "web").port("http", 80, 8080_u16).endpoints(&[&pod]).apply().unwrap();
    mesh.agent.sighup().unwrap();
    wait_for(|| snapshot(&mesh) > version);
    assert_same(&fingerprint(&pod), &before);
    let log = mesh.agent.log().unwrap();
    assert_eq!(log.matches("Pod captured").count(), 1, "{log}");
}

#[test]
fn a_deleted_rule_is_put_back_at_once() {
    let mesh = Mesh::labelled("repair");
    let pod = mesh.pod("pod");
    let before = fingerprint(&pod);
    pod.run(&["ip", "rule", "del", "pref", "100"]).unwrap().stdout().unwrap();
    wait_for(|| fingerprint(&pod) == before);
    assert_eq!(mesh.ask(&["why", &pod.full_name(), "192.0.2.1:80"])["verdict"], "proxied");
}

#[test]
fn a_failed_enrolment_is_undone_and_tried_again() {
    let mesh = Mesh::labelled("undone");
    let pod = mesh.node.pod(NAMESPACE, "pod").start_unannounced().unwrap();
    let before = fingerprint(&pod);
    // Something is in the way of the last step but one.
    let obstacle = mesh.node.pin_dir().join(format!("links/steer-{:x}", pod.netns().cookie()));
    fs::create_dir(&obstacle).unwrap();
    pod.announce().unwrap();
    wait_for(|| state(&mesh, &pod) == "failed");
    assert_same(&fingerprint(&pod), &before);
    assert_eq!(mesh.ask(&["maps", "pods"]), serde_json::json!([]));
    assert_eq!(fs::read_dir(mesh.node.run_dir().join("journal")).unwrap().count(), 0);
    fs::remove_dir(&obstacle).unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
}

#[test]
fn a_pod_is_enrolled_and_released_200_times_under_load_without_a_reset() {
    enrol_and_release_under_load("churn", 200);
}

pub(crate) fn enrol_and_release_under_load(lab: &str, rounds: usize) {
    let mesh = Mesh::unlabelled(lab);
    let client = mesh.node.pod(NAMESPACE, "client").start().unwrap();
    let server = mesh.node.pod(NAMESPACE, "server").start().unwrap();
    let _listening = echo(&server, 7);
    let (mut long, _) = dial(&client, (server.v6(), 7), &[]);
    let loads: Vec<_> = server
        .ips()
        .into_iter()
        .map(|ip| client.load((ip, 7).into(), &["--hold-ms", "2"]).unwrap())
        .collect();
    for round in 0..rounds {
        mesh.label(Some("ambient"));
        for pod in [&client, &server] {
            mesh.agent.wait_captured(pod).unwrap();
        }
        mesh.label(None);
        wait_for(|| state(&mesh, &client) != "captured" && state(&mesh, &server) != "captured");
        long.ping(&format!("round {round}")).unwrap();
    }
    for load in loads {
        let told = load.stop().unwrap();
        assert_eq!(told["failures"], serde_json::json!({}), "{told}");
        assert!(told["connections"].as_u64().unwrap() > 1_000, "hardly any load: {told}");
    }
    for pod in [&client, &server] {
        mesh.agent.wait_released(pod).unwrap();
    }
}

#[test]
fn after_the_drain_time_a_released_pod_is_released_all_the_same() {
    let mesh = Mesh::configured("drain", "drain: {release: 300ms, linger: 100ms}");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let mut listening = server.serve(Mode::Echo, 7).unwrap();
    let (mut connection, _) = dial(&client, (server.v4(), 7), &[]);
    connection.ping("hello").unwrap();
    mesh.label(None);
    for pod in [&client, &server] {
        mesh.agent.wait_released(pod).unwrap();
    }
    // Both ends learn of it: neither hangs.
    assert_eq!(listening.closed().unwrap()["error"], "ECONNRESET");
    let end = connection.outcome().unwrap();
    // ENOTCONN where it learns of the reset by trying to end its own direction.
    assert!(["ECONNRESET", "ENOTCONN"].contains(&end["error"].as_str().unwrap()), "{end}");
    assert_eq!(mesh.ended("released"), 1);
}

#[test]
fn a_pod_may_vanish_at_any_moment_of_its_enrolment() {
    let mesh = Mesh::labelled("vanish");
    let survivor = mesh.pod("survivor");
    let _listening = echo(&survivor, 7);
    for round in 0..20 {
        let pod = mesh.node.pod(NAMESPACE, &format!("brief-{round}")).start().unwrap();
        // The manifest was just written; the agent is somewhere between reading it and the last step.
        match round % 3 {
            0 => pod.destroy_network().unwrap(),
            1 => pod.withdraw().unwrap(),
            _ => {
                pod.withdraw().unwrap();
                pod.destroy_network().unwrap();
            }
        }
    }
    let another = mesh.pod("another");
    let (mut connection, local) = dial(&another, (survivor.v4(), 7), &[]);
    connection.ping("alive").unwrap();
    assert!(mesh.is_proxied(local));
    wait_for(|| mesh.ask(&["maps", "pods"]).as_array().unwrap().len() == 2);
}

#[test]
fn two_hundred_pods_vanish_and_nobody_says_so() {
    let mesh = Mesh::labelled("silence");
    let survivor = mesh.pod("survivor");
    let open_files = || fs::read_dir(format!("/proc/{}/fd", mesh.agent.pid().unwrap())).unwrap().count();
    let before = open_files();
    let pods: Vec<Pod> =
        (0..200).map(|i| mesh.node.pod(NAMESPACE, &format!("pod-{i}")).start().unwrap()).collect();
    for pod in &pods {
        mesh.agent.wait_captured(pod).unwrap();
    }
    for pod in &pods {
        pod.destroy_network().unwrap();
    }
    let rows = |map: &str| mesh.ask(&["maps", map]).as_array().unwrap().len();
    wait_for(|| rows("pods") == 1 && rows("sockets") == 6);
    wait_for(|| open_files() <= before);
    // Those of the survivor, and of the node.
    let links = mesh.node.pin_dir().join("links");
    wait_for(|| fs::read_dir(&links).unwrap().count() == 7);
    let journals = mesh.node.run_dir().join("journal");
    assert_eq!(fs::read_dir(journals).unwrap().count(), 1);
    assert_eq!(state(&mesh, &survivor), "captured");
}

#[test]
fn a_pod_that_has_lost_its_network_is_let_go_at_once_and_named_if_it_gets_no_other() {
    let mesh = Mesh::labelled("ending");
    let pod = mesh.pod("pod");
    pod.destroy_network().unwrap();
    // As every pod that ends, for a moment: nobody is to be troubled with that.
    wait_for(|| state(&mesh, &pod) == "pending");
    assert_eq!(mesh.ask(&["maps", "pods"]), serde_json::json!([]));
    wait_for(|| state(&mesh, &pod) == "failed");
}

/// The pod's state, as `millstream pods` has it.
fn state(mesh: &Mesh, pod: &Pod) -> String {
    let rows = mesh.ask(&["pods"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["uid"] == *pod.uid());
    row.map_or(String::new(), |row| row["state"].as_str().unwrap().to_owned())
}
