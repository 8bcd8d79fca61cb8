//! What is captured, and what is left alone.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    thread,
    time::Instant,
};

use harness::{Mode, Pod, address::Families};
use socket2::{Domain, Socket, Type};

use crate::{
    mesh::{LABEL, Mesh, NAMESPACE, dial, echo},
    road::PATIENCE,
};

/// The bits of the default configuration.
const CAPTURED: u32 = 0x1000_0000;
const AGENT: u32 = 0x2000_0000;

#[test]
fn a_connection_is_captured_whatever_makes_it() {
    let mesh = Mesh::labelled("whatever");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    server.sysctl("net/ipv4/tcp_fastopen", "3").unwrap();
    let mut listening = server.serve_at(Mode::Echo, "[::]:7".parse().unwrap(), &["--mptcp"]).unwrap();
    let (v4, v6) = (IpAddr::V4(server.v4()), IpAddr::V6(server.v6()));
    for (case, addr, args) in [
        ("IPv4", v4, &[][..]),
        ("IPv6", v6, &[]),
        ("v4-mapped", v4, &["--mapped"]),
        ("non-blocking, IPv4", v4, &["--how", "nonblocking"]),
        ("non-blocking, IPv6", v6, &["--how", "nonblocking"]),
        ("MPTCP, IPv4", v4, &["--how", "mptcp"]),
        ("MPTCP, IPv6", v6, &["--how", "mptcp"]),
        ("TCP_FASTOPEN_CONNECT", v4, &["--how", "fastopen-connect"]),
        ("MSG_FASTOPEN", v4, &["--how", "fastopen-sendto"]),
        ("source port of its own", v4, &["--bind-port", "40001"]),
    ] {
        let (mut connection, local) = dial(&client, (addr, 7), args);
        // With fast open, nothing is sent before the first bytes.
        connection.ping("hello").unwrap_or_else(|e| panic!("{case}: {e:#}"));
        assert!(mesh.is_proxied(local), "{case}: gets round the proxy");
        let seen = listening.accepted().unwrap();
        assert_eq!(seen, local, "{case}: the server sees the client's own address and, on one node, port");
        connection.finish().unwrap().stdout().unwrap();
    }
}

#[test]
fn both_ends_see_true_addresses_across_nodes() {
    let mesh = Mesh::labelled("across");
    let far_node = mesh.lab.node("b").unwrap();
    let far_agent = far_node.agent(harness::AgentOptions::default()).unwrap();
    let client = mesh.pod("client");
    let server = far_node.pod(NAMESPACE, "server").start().unwrap();
    far_agent.wait_captured(&server).unwrap();
    let mut listening = echo(&server, 7);
    for (ip, own) in server.ips().into_iter().zip(client.ips()) {
        let (mut connection, local) = dial(&client, (ip, 7), &[]);
        connection.ping("hello").unwrap();
        assert_eq!(local.ip(), own);
        assert_eq!(listening.accepted().unwrap().ip(), own, "what the server sees");
        assert!(mesh.is_proxied(local), "not proxied where it leaves");
        let inbound = far_agent.json(&["connections"]).unwrap();
        let row = inbound.as_array().unwrap().iter().find(|row| row["direction"] == "inbound").unwrap();
        assert_eq!(row["original_dst"], SocketAddr::new(ip, 7).to_string());
        connection.finish().unwrap().stdout().unwrap();
    }
}

#[test]
fn loopback_and_the_pods_own_addresses_are_left_alone() {
    let mesh = Mesh::labelled("own");
    let pod = mesh.pod("pod");
    let _listening = echo(&pod, 7);
    let added: IpAddr = "192.0.2.77".parse().unwrap();
    pod.add_address(added).unwrap();
    let own = [IpAddr::V4(pod.v4()), IpAddr::V6(pod.v6())];
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for ip in loopback.into_iter().chain(own) {
        let (mut connection, local) = dial(&pod, (ip, 7), &[]);
        connection.ping("hello").unwrap();
        assert!(!mesh.is_proxied(local), "{ip} is captured");
    }
    assert_eq!(mesh.counted("connect", "captured"), 0);
    // The address was announced by the kernel; the agent has it in its map within the blink of an eye.
    wait_for(|| mesh.agent.cli(&["maps", "pods"]).unwrap().any_stdout().contains("192.0.2.77"));
    let (mut connection, local) = dial(&pod, (added, 7), &[]);
    connection.ping("hello").unwrap();
    assert!(!mesh.is_proxied(local), "an address that came later is captured");
    pod.delete_address(added).unwrap();
    wait_for(|| !mesh.agent.cli(&["maps", "pods"]).unwrap().any_stdout().contains("192.0.2.77"));
}

#[test]
fn a_pod_reaches_itself_through_a_service() {
    let mesh = Mesh::labelled("itself");
    let pod = mesh.pod("pod");
    let mut listening = echo(&pod, 7);
    let service =
        mesh.lab.service(NAMESPACE, "itself").port("echo", 80, 7_u16).endpoints(&[&pod]).apply().unwrap();
    wait_for(|| mesh.agent.cli(&["services"]).unwrap().any_stdout().contains("itself"));
    for (vip, own) in
        [(service.v4_addr(80), IpAddr::V4(pod.v4())), (service.v6_addr(80), IpAddr::V6(pod.v6()))]
    {
        let (mut connection, local) = dial(&pod, vip, &[]);
        connection.ping("hello").unwrap();
        assert!(mesh.is_proxied(local));
        assert_eq!(listening.accepted().unwrap().ip(), own);
    }
}

#[test]
fn the_proxys_own_listeners_are_refused() {
    let mesh = Mesh::labelled("listeners");
    let pod = mesh.pod("pod");
    let mut expected = 0;
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        for port in [15_001, 15_006] {
            reset(&pod, (ip, port));
            expected += 1;
            wait_for(|| mesh.ended("own-listener") == expected);
        }
    }
}

#[test]
fn a_connection_of_the_proxy_that_comes_back_is_refused() {
    let mesh = Mesh::labelled("loop");
    let (pod, stranger) = (mesh.pod("pod"), mesh.stranger("stranger"));
    let _listening = echo(&stranger, 7);
    // Somebody's rule turns the proxy's own packets round, as a forged or mistaken mark would.
    let mark = format!("{AGENT:#x}/{AGENT:#x}");
    pod.run(&["ip", "rule", "add", "pref", "99", "fwmark", &mark, "lookup", "15001"])
        .unwrap()
        .stdout()
        .unwrap();
    let connection = pod.dial((stranger.v4(), 7).into(), &[]).unwrap();
    wait_for(|| mesh.ended("own-connection") == 1);
    drop(connection);
    assert_eq!(mesh.ended("own-connection"), 1, "refused once, not forwarded in a circle");
}

#[test]
fn only_our_bits_of_the_mark_change() {
    let mesh = Mesh::labelled("bits");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _listening = echo(&server, 7);
    for (case, before, after) in [
        ("no mark", 0, CAPTURED),
        ("the application's own bits stay", 0x0000_0539, CAPTURED | 0x539),
        ("the agent's bit is not the application's to set", AGENT | 0x1, CAPTURED | 0x1),
        ("the captured bit is set already", CAPTURED | 0x8000, CAPTURED | 0x8000),
    ] {
        let mark = client.exec(|| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_mark(before).unwrap();
            socket.connect(&SocketAddr::from((server.v4(), 7)).into()).unwrap();
            socket.mark().unwrap()
        });
        assert_eq!(mark.unwrap(), after, "{case}");
    }
}

#[test]
fn an_uncaptured_pod_is_not_touched() {
    let mesh = Mesh::labelled("untouched");
    let (stranger, other, server) = (mesh.stranger("stranger"), mesh.stranger("other"), mesh.pod("server"));
    let (_direct, mut captured) = (echo(&other, 7), echo(&server, 7));
    let (mut connection, local) = dial(&stranger, (other.v4(), 7), &[]);
    connection.ping("direct").unwrap();
    assert!(!mesh.is_proxied(local));
    // Towards a captured pod it arrives through that pod's proxy, with the true address.
    let (mut connection, local) = dial(&stranger, (server.v4(), 7), &[]);
    connection.ping("inbound").unwrap();
    assert!(mesh.is_proxied(local));
    assert_eq!(captured.accepted().unwrap().ip(), IpAddr::V4(stranger.v4()));
}

#[test]
fn a_pod_may_lack_a_family() {
    let mesh = Mesh::labelled("families");
    let server = mesh.pod("server");
    let _listening = echo(&server, 7);
    for (case, families, without_v6_on_lo) in [
        ("v4-alone", Families::V4, false),
        ("v6-alone", Families::V6, false),
        ("no-v6-on-lo", Families::V4, true),
    ] {
        let pod = mesh.node.pod(NAMESPACE, case).families(families).start_unannounced().unwrap();
        if without_v6_on_lo {
            pod.sysctl("net/ipv6/conf/lo/disable_ipv6", "1").unwrap();
        }
        pod.announce().unwrap();
        mesh.agent.wait_captured(&pod).unwrap();
        let ip = if families == Families::V6 { IpAddr::V6(server.v6()) } else { IpAddr::V4(server.v4()) };
        let (mut connection, local) = dial(&pod, (ip, 7), &[]);
        connection.ping(case).unwrap();
        assert!(mesh.is_proxied(local), "{case}");
    }
}

#[test]
fn labels_decide_as_in_istio() {
    let mesh = Mesh::labelled("labels");
    for (pod, namespace, own, captured) in [
        ("plain", NAMESPACE, None, true),
        ("opted-out", NAMESPACE, Some("none"), false),
        ("outside", "elsewhere", None, false),
        ("opted-in", "elsewhere", Some("ambient"), true),
        ("excluded", "kube-system", Some("ambient"), false),
    ] {
        let builder = mesh.node.pod(namespace, pod);
        let builder = own.into_iter().fold(builder, |builder, value| builder.label(LABEL, value));
        let pod = builder.start().unwrap();
        if captured {
            mesh.agent.wait_captured(&pod).unwrap();
        } else {
            let name = pod.full_name();
            wait_for(|| mesh.agent.cli(&["pods"]).unwrap().any_stdout().contains(pod.name()));
            let why = mesh.agent.json(&["why", &name, "192.0.2.1:80"]).unwrap();
            assert_eq!(why["verdict"], "direct", "{name}: {why}");
        }
    }
}

#[test]
fn a_connection_that_the_server_refuses_is_reset() {
    let mesh = Mesh::labelled("refusal");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    // Accepted by the proxy, then reset, when nobody listens behind it.
    for ip in server.ips() {
        reset(&client, (ip, 9));
    }
    wait_for(|| mesh.ended("connect-refused") == 2);
}

/// Dials, and expects that the connection is accepted by the proxy and then reset.
#[track_caller]
fn reset(pod: &Pod, addr: impl Into<SocketAddr>) {
    let end = pod.dial(addr.into(), &["--mode", "download"]).unwrap().outcome().unwrap();
    // The reset may come before the client asks for its peer's address.
    let error = end["error"].as_str().unwrap();
    assert!(["ECONNRESET", "ENOTCONN"].contains(&error), "{end}");
}

/// Looks again until it is true. What it waits for is announced to no one outside the agent.
#[track_caller]
pub(crate) fn wait_for(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "did not come true in {PATIENCE:?}");
        thread::yield_now();
    }
}
