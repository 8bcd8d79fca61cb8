//! What a capture must survive, by number, and the tests that show it: here, or where their subject is.
//!
//! | | what | shown by |
//! | --- | --- | --- |
//! | 1 | the proxy is killed: an error within a second when closed, direct when open | `agent_down` |
//! | 2 | the agent restarts, or changes its version, with open connections | `agent_down`, `records`, `stuck` |
//! | 3 | enrolled and released a thousand times under load without a reset | here; 200 times in `lifecycle` |
//! | 4 | a pod deleted while it is enrolled, its namespace's number used again | here, `lifecycle` |
//! | 5 | IPv4, IPv6, IPv4 in IPv6, `lo` without IPv6 | here, `steering` |
//! | 6 | Multipath TCP, Fast Open, non-blocking connect | `steering` |
//! | 7 | a pod that calls itself: own address, loopback, service; a pod of the same node | `steering`, `same_node` |
//! | 8 | as many connections from one pod as descriptors allow | `load`, `limits` |
//! | 9 | forged marks, packet sockets, our rule deleted | `evasion`, `guard` |
//! | 10 | programs of others before and after ours | `neighbours` |
//! | 11 | iptables, marks and routing tables of the pod's own | `in_pod`, `neighbours` |
//! | 12 | other kernels | `cargo xtask test kernels`; `clsact`, for those before 6.6 |
//! | 14 | full maps | `full_map`, `exclusions` |
//! | 15 | half-close, reset, single bytes, 10 GiB, a slow reader | `bytes` |
//!
//! (13, a CNI configuration that is rewritten all the time: agent/app/src/chain.)

use std::collections::HashSet;

use harness::Connected;
use netns::Netns;

use crate::{
    lifecycle::enrol_and_release_under_load,
    mesh::{Mesh, NAMESPACE, dial, echo},
    steering::wait_for,
};

#[test]
#[ignore = "minutes long: run by name"]
fn survives_03_a_thousand_enrolments_under_load() {
    enrol_and_release_under_load("thousand", 1_000);
}

/// Maps know a namespace by its cookie, for its inode number is another's soon.
#[test]
fn survives_04_a_cookie_is_never_used_again_as_inode_numbers_are() {
    let (mut cookies, mut inodes) = (HashSet::new(), HashSet::new());
    for _ in 0..50 {
        let netns = Netns::create().unwrap();
        assert!(cookies.insert(netns.cookie()), "cookie {:#x} comes again", netns.cookie());
        inodes.insert(netns.inode());
    }
    assert!(inodes.len() <= cookies.len());
}

/// IPv6 cannot be turned without `lo`: such a pod is captured for IPv4 alone, and its IPv6 does not get round the mesh.
#[test]
fn survives_05_a_pod_with_ipv6_on_eth0_and_none_on_lo() {
    let mesh = Mesh::labelled("halfv6");
    let stranger = mesh.stranger("stranger");
    let _listening = echo(&stranger, 7);
    let pod = mesh.node.pod(NAMESPACE, "pod").start_unannounced().unwrap();
    pod.sysctl("net/ipv6/conf/lo/disable_ipv6", "1").unwrap();
    pod.announce().unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    let (mut connection, local) = dial(&pod, (stranger.v4(), 7), &[]);
    connection.ping("v4").unwrap();
    assert!(mesh.is_proxied(local));
    let v6 = pod.dial((stranger.v6(), 7).into(), &[]).unwrap().connected().unwrap();
    assert!(matches!(v6, Connected::No { .. }), "IPv6 got round the mesh");
    let why = mesh.ask(&["why", &pod.full_name(), &format!("[{}]:7", stranger.v6())]);
    assert!(why["summary"].as_str().unwrap().contains("lo has no IPv6"), "{why}");
}

/// The guard and the hooks know the agent by a cgroup of its own: not by the one that it was started in.
#[test]
fn a_stranger_in_the_cgroup_that_the_agent_was_started_in_is_not_taken_for_the_agent() {
    let mesh = Mesh::labelled("shared");
    let (client, stranger) = (mesh.pod("client"), mesh.stranger("stranger"));
    let _listening = echo(&stranger, 7);
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", mesh.agent.pid().unwrap())).unwrap();
    assert!(!own.trim().ends_with("/agent"), "the agent has no cgroup of its own: {own}");
    for args in [&[][..], &["--device", "eth0"]] {
        let mut dialled = client.dial_in(mesh.agent.cgroup(), (stranger.v4(), 7).into(), args).unwrap();
        let Connected::Yes { local, .. } = dialled.connected().unwrap() else { panic!("{args:?}: refused") };
        dialled.ping("hello").unwrap();
        wait_for(|| mesh.is_proxied(local));
    }
}
