//! The guard on kernels without TCX: a tc filter, beside those of others.

use harness::Pod;

use crate::{
    mesh::{Mesh, NAMESPACE, dial, echo},
    steering::wait_for,
};

/// An agent that guards as it would before Linux 6.6.
fn mesh(name: &str) -> Mesh {
    Mesh::configured(name, "steering: {guard-hook: clsact}")
}

#[test]
fn a_filter_guards_like_a_link() {
    let mut mesh = mesh("filter");
    let (client, stranger) = (mesh.pod("client"), mesh.stranger("stranger"));
    let mut listening = echo(&stranger, 7);
    let dial_by_device = |mesh: &Mesh| {
        for (ip, own) in stranger.ips().into_iter().zip(client.ips()) {
            let (mut connection, local) = dial(&client, (ip, 7), &["--device", "eth0"]);
            connection.ping("hello").unwrap();
            assert!(mesh.is_proxied(local), "{ip}: gets round the proxy");
            assert_eq!(local.ip(), own, "{ip}");
        }
    };
    dial_by_device(&mesh);
    assert_eq!(filters(&client, "eth0"), 1);
    let why = mesh.ask(&["why", "shop/client", &format!("{}:7", stranger.v4())]);
    assert_eq!(why["verdict"], "proxied", "{why}");

    // The next agent puts its own in place of it, and does not add one.
    mesh.agent.kill().unwrap();
    mesh.agent.launch().unwrap();
    dial_by_device(&mesh);
    assert_eq!(filters(&client, "eth0"), 1);

    ip(&client, &["link", "add", "net1", "type", "veth", "peer", "name", "net2"]);
    wait_for(|| filters(&client, "net1") == 1 && filters(&client, "net2") == 1);
    ip(&client, &["link", "del", "net1"]);

    mesh.label(None);
    mesh.agent.wait_released(&client).unwrap();
    assert_eq!(filters(&client, "eth0"), 0, "it is left");
    let (mut direct, local) = dial(&client, (stranger.v4(), 7), &["--device", "eth0"]);
    direct.ping("direct").unwrap();
    while listening.accepted().unwrap() != local {}
}

#[test]
fn filters_and_qdiscs_of_others_stay() {
    let mesh = mesh("others");
    mesh.label(None);
    let pod = mesh.node.pod(NAMESPACE, "pod").start().unwrap();
    let stranger = mesh.stranger("stranger");
    let _listening = echo(&stranger, 7);
    for args in [
        &["qdisc", "add", "dev", "eth0", "clsact"][..],
        &[
            "filter", "add", "dev", "eth0", "egress", "pref", "7", "protocol", "ip", "u32", "match", "u32",
            "0", "0",
        ],
        &[
            "filter", "add", "dev", "eth0", "ingress", "pref", "1", "protocol", "ip", "u32", "match", "u32",
            "0", "0",
        ],
    ] {
        pod.run(&[&["tc"], args].concat()).unwrap().stdout().unwrap();
    }
    let theirs = || {
        let show = |way: &str| {
            let said = pod.run(&["tc", "filter", "show", "dev", "eth0", way]).unwrap();
            said.stdout().unwrap().lines().filter(|line| line.contains("u32")).count()
        };
        (show("egress"), show("ingress"))
    };
    let before = theirs();
    mesh.label(Some("ambient"));
    mesh.agent.wait_captured(&pod).unwrap();
    assert_eq!((theirs(), filters(&pod, "eth0")), (before, 1));
    let (mut connection, local) = dial(&pod, (stranger.v4(), 7), &["--device", "eth0"]);
    connection.ping("hello").unwrap();
    assert!(mesh.is_proxied(local));
    drop(connection);
    mesh.label(None);
    mesh.agent.wait_released(&pod).unwrap();
    assert_eq!((theirs(), filters(&pod, "eth0")), (before, 0));
}

#[test]
fn cleanup_removes_the_filter_of_a_dead_agent() {
    let mut mesh = mesh("filtercleanup");
    let pod = mesh.pod("pod");
    mesh.agent.kill().unwrap();
    assert_eq!(filters(&pod, "eth0"), 1);
    mesh.agent.cli(&["cleanup"]).unwrap().stdout().unwrap();
    assert_eq!(filters(&pod, "eth0"), 0);
}

/// How many of ours are on the egress of an interface.
pub(crate) fn filters(pod: &Pod, interface: &str) -> usize {
    let said = pod.run(&["tc", "filter", "show", "dev", interface, "egress"]).unwrap();
    said.any_stdout().matches("handle 0x6d73").count()
}

#[track_caller]
fn ip(pod: &Pod, args: &[&str]) {
    pod.run(&[&["ip"], args].concat()).unwrap().stdout().unwrap();
}
