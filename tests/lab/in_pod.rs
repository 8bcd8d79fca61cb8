//! Pods with a network of their own making: several interfaces and tables, a VPN, a sidecar, a firewall.

use std::net::{IpAddr, SocketAddr};

use harness::{Mode, Pod};

use crate::{
    mesh::{Mesh, NAMESPACE, dial, echo},
    neighbours::{ip, problems},
    steering::wait_for,
};

/// Ends of a wire beside the pods' network, of both families: the pod's, and that of who is behind it.
const NEAR: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const FAR: [&str; 2] = ["192.0.2.2", "2001:db8::2"];
/// Beyond the far end.
const BEYOND: [&str; 2] = ["203.0.113.1", "2001:db8:1::1"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    RulesFirst,
    CaptureFirst,
}

/// A pod, captured, with a second interface; `then` gives it rules before that, or after.
fn two_interfaces(mesh: &Mesh, name: &str, order: Order, far: &Pod, then: impl Fn(&Pod)) -> Pod {
    let pod = mesh.node.pod(NAMESPACE, name).start_unannounced().unwrap();
    let peer = far.netns_path().file_name().unwrap().to_str().unwrap();
    ip(&pod, &format!("link add net1 type veth peer name net1 netns {peer}"));
    for (end, addresses) in [(&pod, NEAR), (far, FAR)] {
        ip(end, "link set net1 up");
        ip(end, &format!("address add {}/24 dev net1", addresses[0]));
        ip(end, &format!("address add {}/64 dev net1 nodad", addresses[1]));
    }
    for (beyond, length) in BEYOND.into_iter().zip([32, 128]) {
        ip(far, &format!("address add {beyond}/{length} dev lo"));
    }
    // What comes in by the wrong interface is dropped there.
    far.sysctl("net/ipv4/conf/all/rp_filter", "1").unwrap();
    if order == Order::RulesFirst {
        then(&pod);
    }
    pod.announce().unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    if order == Order::CaptureFirst {
        then(&pod);
        wait_for(|| ["-4", "-6"].iter().all(|family| ours_is_first(&pod, family)));
    }
    pod
}

/// Whether nothing comes before our rule but the kernel's.
fn ours_is_first(pod: &Pod, family: &str) -> bool {
    let rules = pod.run(&["ip", family, "rule"]).unwrap();
    rules.stdout().unwrap().lines().nth(1).unwrap().contains("lookup 15001")
}

#[test]
fn each_address_of_a_pod_uses_its_own_interface_and_table() {
    for (name, order) in [("awsbefore", Order::RulesFirst), ("awsafter", Order::CaptureFirst)] {
        let mesh = Mesh::labelled(name);
        let far = mesh.stranger("far");
        let pod = two_interfaces(&mesh, "pod", order, &far, |pod| {
            for (family, (near, far)) in ["-4", "-6"].into_iter().zip(NEAR.into_iter().zip(FAR)) {
                ip(pod, &format!("{family} route add default via {far} dev net1 table 201"));
                ip(pod, &format!("{family} rule add from {near} lookup 201"));
            }
        });
        let (mut beyond, mut served) = (echo(&far, 7), echo(&pod, 7));
        for (i, (own, to)) in pod.ips().into_iter().zip(far.ips()).enumerate() {
            let second: IpAddr = NEAR[i].parse().unwrap();
            for (case, bound, to, from) in [
                ("not bound", None, to, own),
                ("bound to the first", Some(own), to, own),
                ("bound to the second", Some(second), to, second),
                (
                    "bound to the second, to where only its table leads",
                    Some(second),
                    BEYOND[i].parse().unwrap(),
                    second,
                ),
                ("to the second's network", None, FAR[i].parse().unwrap(), second),
            ] {
                let bind = bound.map(|ip| ip.to_string());
                let args: Vec<&str> = bind.iter().flat_map(|ip| ["--bind", ip]).collect();
                let (mut connection, local) = dial(&pod, (to, 7), &args);
                connection.ping(case).unwrap();
                assert!(mesh.is_proxied(local), "{name}, {case}, {to}: gets round the proxy");
                assert_eq!(beyond.accepted().unwrap().ip(), from, "{name}, {case}, {to}");
            }
            for (to, from) in
                [(own, to), (second, FAR[i].parse().unwrap()), (second, BEYOND[i].parse().unwrap())]
            {
                let (mut connection, local) = dial(&far, (to, 7), &["--bind", &from.to_string()]);
                connection.ping("inbound").unwrap();
                assert!(mesh.is_proxied(local), "{name}, inbound to {to}: gets round the proxy");
                assert_eq!(served.accepted().unwrap().ip(), from, "{name}, inbound to {to}");
            }
        }
        assert_eq!(problems(&mesh), "[]");
    }
}

#[test]
fn a_vpn_that_takes_all_but_its_own_takes_what_the_proxy_sends() {
    for (name, order) in [("vpnbefore", Order::RulesFirst), ("vpnafter", Order::CaptureFirst)] {
        let mesh = Mesh::labelled(name);
        let far = mesh.stranger("far");
        // In the order of wg-quick: each without a preference, so the last comes first.
        let pod = two_interfaces(&mesh, "pod", order, &far, |pod| {
            for (family, far) in ["-4", "-6"].into_iter().zip(FAR) {
                ip(pod, &format!("{family} route add default via {far} dev net1 table 51820"));
                ip(pod, &format!("{family} rule add not fwmark 51820 lookup 51820"));
                ip(pod, &format!("{family} rule add lookup main suppress_prefixlength 0"));
            }
        });
        let mut beyond = echo(&far, 7);
        for (i, (own, to)) in pod.ips().into_iter().zip(far.ips()).enumerate() {
            for (case, to, from) in [
                ("on the wire", to, own),
                ("through the tunnel", BEYOND[i].parse().unwrap(), NEAR[i].parse().unwrap()),
            ] {
                let (mut connection, local) = dial(&pod, (to, 7), &[]);
                connection.ping(case).unwrap();
                assert!(mesh.is_proxied(local), "{name}, {case}, {to}: gets round the proxy");
                assert_eq!(beyond.accepted().unwrap().ip(), from, "{name}, {case}, {to}");
            }
        }
        assert_eq!(problems(&mesh), "[]");
    }
}

#[test]
fn a_firewall_in_the_pod_is_heeded() {
    let mesh = Mesh::labelled("firewall");
    let stranger = mesh.stranger("stranger");
    let mut there = echo(&stranger, 7);
    for (name, rules) in [
        ("masquerade", "chain c { type nat hook postrouting priority 100; oifname eth0 masquerade; }"),
        (
            "mark-some-bits",
            "chain c { type route hook output priority -150; meta mark set meta mark & 0xffff0000 | 0x539; }",
        ),
        (
            "connmark",
            "chain o { type filter hook output priority -150; ct mark set 0x1; }
             chain i { type filter hook prerouting priority -150; ct state new ct mark set 0x1; }",
        ),
        (
            "stateful",
            "chain i { type filter hook input priority 0; policy drop; iifname lo accept; ct state established accept;
                       meta l4proto icmpv6 accept; tcp dport 7 accept; }
             chain o { type filter hook output priority 0; policy drop; oifname lo accept; ct state established accept;
                       meta l4proto icmpv6 accept; tcp dport 7 accept; }",
        ),
    ] {
        let pod = mesh.node.pod(NAMESPACE, name).start_unannounced().unwrap();
        nft(&pod, &format!("table inet theirs {{\n{rules}\n}}"));
        pod.announce().unwrap();
        mesh.agent.wait_captured(&pod).unwrap();
        let mut here = echo(&pod, 7);
        for (own, to) in pod.ips().into_iter().zip(stranger.ips()) {
            let (mut connection, local) = dial(&pod, (to, 7), &[]);
            connection.ping(name).unwrap_or_else(|e| panic!("{name} to {to}: {e:#}"));
            assert!(mesh.is_proxied(local), "{name} to {to}: gets round the proxy");
            assert_eq!(there.accepted().unwrap().ip(), own, "{name}");
            let (mut connection, local) = dial(&stranger, (own, 7), &["--timeout-s", "5"]);
            connection.ping(name).unwrap_or_else(|e| panic!("{name} inbound to {own}: {e:#}"));
            assert!(mesh.is_proxied(local), "{name} inbound to {own}: gets round the proxy");
            assert_eq!(here.accepted().unwrap().ip(), to, "{name}");
        }
    }
}

#[test]
fn what_keeps_an_application_from_answering_the_proxy_is_named() {
    let mesh = Mesh::configured("answers", "proxy: {connect-timeout: 300ms}");
    let stranger = mesh.stranger("stranger");
    let _there = echo(&stranger, 7);
    for (named_before, (name, rules)) in [
        ("whole-mark", "chain c { type route hook output priority -150; meta mark set 0x539; }"),
        // Of wg-quick, for the address of the tunnel.
        (
            "not-by-its-interface",
            "chain c { type filter hook prerouting priority -300; iifname != eth0 fib saddr type != local drop; }",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let pod = mesh.pod(name);
        let _here = echo(&pod, 7);
        nft(&pod, &format!("table inet theirs {{\n{rules}\n}}"));
        let end = stranger.dial((pod.v4(), 7).into(), &["--mode", "download"]).unwrap().outcome().unwrap();
        assert_eq!(end["error"], "ECONNRESET", "{name}: {end}");
        let named = || mesh.records().iter().filter(|r| r.to_string().contains("the whole mark")).count();
        wait_for(|| named() == named_before + 1);
        if name == "whole-mark" {
            // What the application sends loses our bit; the guard turns it when it is about to leave.
            let (mut connection, local) = dial(&pod, (stranger.v4(), 7), &[]);
            connection.ping("outbound").unwrap();
            assert!(mesh.is_proxied(local), "gets round the proxy");
        }
    }
}

#[test]
fn a_sidecar_that_redirects_stands_before_the_proxy() {
    let mesh = Mesh::labelled("sidecar");
    let stranger = mesh.stranger("stranger");
    let mut there = stranger.serve(Mode::Hello, 80).unwrap();
    let pod = mesh.node.pod(NAMESPACE, "pod").start_unannounced().unwrap();
    // The port that our own listener prefers.
    let mut sidecar = echo(&pod, 15_001);
    nft(
        &pod,
        "table inet sidecar { chain output { type nat hook output priority -100; meta skuid 1337 return;
         meta mark & 0x20000000 != 0 return; tcp dport 80 redirect to :15001; }
         }",
    );
    pod.announce().unwrap();
    mesh.agent.wait_captured(&pod).unwrap();
    for to in stranger.ips() {
        let (mut connection, local) = dial(&pod, (to, 80), &[]);
        connection.ping("to the sidecar").unwrap();
        assert!(!mesh.is_proxied(local));
        sidecar.accepted().unwrap();
        // What the sidecar sends on is captured, and not redirected again: it, and the proxy, are exempt.
        let mut onward = pod.dial_as(1337, SocketAddr::new(to, 80), &["--mode", "half-close"]).unwrap();
        onward.connected().unwrap();
        there.accepted().unwrap();
        let said = onward.outcome().unwrap();
        assert!(said["text"].as_str().unwrap().starts_with("220"), "{said}");
    }
}

#[track_caller]
fn nft(pod: &Pod, rules: &str) {
    pod.run(&["nft", rules]).unwrap().stdout().unwrap();
}
