//! Programs that mean to get round the mesh, with the capabilities that a container may have.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
};

use harness::{
    Connected, Pod,
    packet::{Frame, PacketSocket},
};
use nix::errno::Errno;

use crate::{
    mesh::{Mesh, NAMESPACE, dial, echo},
    steering::wait_for,
};

/// What a container has: nothing, what Docker gives by default, and what network tools ask for.
const CAPABILITIES: [&[&str]; 3] = [&[], &["net_raw"], &["net_raw", "net_admin"]];

// include/linux/socket.h, include/uapi/linux/if_xdp.h
const SOL_XDP: i32 = 283;
const XDP_UMEM_REG: i32 = 4;

#[test]
fn every_way_out_of_an_ordinary_socket_ends_in_the_proxy() {
    let mesh = Mesh::labelled("ways");
    let client = mesh.pod("client");
    let stranger = mesh.stranger("stranger");
    let _listening = echo(&stranger, 7);
    let (captured, agent) = (0x1000_0000.to_string(), 0x2000_0000.to_string());
    let (both, own) = (0x3000_0000.to_string(), 0x1234.to_string());
    for capabilities in CAPABILITIES {
        let mut ways: Vec<Vec<&str>> = vec![vec![], vec!["--device", "eth0"], vec!["--bind-port", "4321"]];
        if !capabilities.is_empty() {
            let marks = [&captured, &agent, &both, &own];
            ways.extend(marks.map(|mark| vec!["--mark", mark]));
            ways.extend(marks.map(|mark| vec!["--mark", mark, "--device", "eth0"]));
        }
        for (ip, way) in stranger.ips().into_iter().flat_map(|ip| ways.iter().map(move |way| (ip, way))) {
            let mut dialled = client.dial_with(capabilities, (ip, 7).into(), way).unwrap();
            let Connected::Yes { local, .. } = dialled.connected().unwrap() else {
                panic!("{capabilities:?} {way:?} to {ip} was refused");
            };
            dialled.ping("hello").unwrap();
            assert!(mesh.is_proxied(local), "{capabilities:?} {way:?} to {ip} gets round the proxy");
        }
    }
}

#[test]
fn without_the_connect_hook_the_guard_turns_everything() {
    let mesh = Mesh::labelled("hookless");
    let client = mesh.pod("client");
    let stranger = mesh.stranger("stranger");
    let _listening = echo(&stranger, 7);
    for hook in ["connect4", "connect6"] {
        fs::remove_file(mesh.node.pin_dir().join("links").join(hook)).unwrap();
    }
    // The kernel detaches them in its own time.
    let turned = || mesh.counted("guard", "turned into the proxy");
    for ip in stranger.ips() {
        let before = turned();
        wait_for(|| {
            dial(&client, (ip, 7), &[]).0.ping("hello").unwrap();
            turned() > before
        });
    }
    let before = turned();
    for (ip, capabilities) in stranger.ips().into_iter().flat_map(|ip| CAPABILITIES.map(|c| (ip, c))) {
        let mut dialled = client.dial_with(capabilities, (ip, 7).into(), &[]).unwrap();
        let Connected::Yes { local, .. } = dialled.connected().unwrap() else {
            panic!("{capabilities:?} to {ip} was refused");
        };
        dialled.ping("hello").unwrap();
        assert!(mesh.is_proxied(local), "{capabilities:?} to {ip} gets round the proxy");
    }
    assert_eq!(turned() - before, 6);
}

#[test]
fn a_packet_socket_that_skips_the_guard_is_stopped() {
    let mesh = Mesh::unlabelled("packet");
    let pod = mesh.node.pod(NAMESPACE, "pod").start().unwrap();
    let stranger = mesh.stranger("stranger");
    // Made before anybody could refuse it.
    let socket = PacketSocket::open(&pod, "eth0").unwrap();
    socket.bypass_qdisc().unwrap();
    let arrives = |number: u64| {
        let arrived = || segments(&stranger);
        let before = arrived();
        for (from, to) in pod.ips().into_iter().zip(stranger.ips()) {
            let (from, to) = (SocketAddr::new(from, 4321), SocketAddr::new(to, 7));
            socket.send(&Frame::syn((&pod, from), (&stranger, to)).unwrap()).unwrap();
        }
        let dropped = || mesh.counted("backstop", "dropped: left past the guard");
        wait_for(|| arrived() - before + dropped() >= number);
        arrived() - before
    };
    assert_eq!(arrives(2), 2, "the test itself cannot get out");
    mesh.label(Some("ambient"));
    mesh.agent.wait_captured(&pod).unwrap();
    wait_for(|| backstops(&mesh) == 1);
    assert_eq!(arrives(2), 0, "got round the mesh");

    let late = PacketSocket::open(&pod, "eth0").unwrap();
    assert_eq!(late.bypass_qdisc(), Err(Errno::EPERM), "PACKET_QDISC_BYPASS");
    assert_eq!(late.set(SOL_XDP, XDP_UMEM_REG, &[0; 32]), Err(Errno::EPERM), "XDP_UMEM_REG");
    assert!(mesh.counted("setsockopt", "refused: PACKET_QDISC_BYPASS or AF_XDP") >= 2);
    PacketSocket::open(&stranger, "eth0").unwrap().bypass_qdisc().unwrap();

    // What the pod does in earnest still crosses that wire.
    let _listening = echo(&stranger, 7);
    for ip in stranger.ips() {
        dial(&pod, (ip, 7), &[]).0.ping("hello").unwrap();
    }
    mesh.label(None);
    mesh.agent.wait_released(&pod).unwrap();
    assert_eq!(backstops(&mesh), 0);
}

#[test]
fn what_the_guard_cannot_read_does_not_leave_a_closed_pod() {
    let mesh = Mesh::labelled("fragments");
    let pod = mesh.pod("pod");
    let stranger = mesh.stranger("stranger");
    let socket = PacketSocket::open(&pod, "eth0").unwrap();
    for (from, to) in pod.ips().into_iter().zip(stranger.ips()) {
        let fragment = Frame::later_fragment((&pod, from), (&stranger, to)).unwrap();
        // So a sender learns that its packet was dropped on the way out.
        assert_eq!(socket.send(&fragment), Err(Errno::ENOBUFS));
    }
    wait_for(|| mesh.counted("guard", "dropped: fragment or header that cannot be read") == 2);
}

#[test]
fn a_packet_socket_begins_nothing_that_the_proxy_does_not_see() {
    let mesh = Mesh::labelled("crafted");
    let pod = mesh.pod("pod");
    let stranger = mesh.stranger("stranger");
    let socket = PacketSocket::open(&pod, "eth0").unwrap();
    let before = segments(&stranger);
    for (from, to) in pod.ips().into_iter().zip(stranger.ips()) {
        let (from, to) = (SocketAddr::new(from, 4321), SocketAddr::new(to, 7));
        socket.send(&Frame::syn((&pod, from), (&stranger, to)).unwrap()).unwrap();
    }
    wait_for(|| mesh.counted("guard", "turned into the proxy") == 2);
    assert_eq!(segments(&stranger), before, "got round the mesh");
}

#[test]
fn udp_passes_and_is_counted() {
    let mesh = Mesh::labelled("udp");
    let pod = mesh.pod("pod");
    let stranger = mesh.stranger("stranger");
    for (from, to) in pod.ips().into_iter().zip(stranger.ips()) {
        let receiver = stranger.exec(|| UdpSocket::bind((to, 9))).unwrap().unwrap();
        let sender = pod.exec(|| UdpSocket::bind((from, 0))).unwrap().unwrap();
        let before = mesh.counted("guard", "passed: not TCP, nor DNS");
        sender.send_to(b"hello", (to, 9)).unwrap();
        let (length, client) = receiver.recv_from(&mut [0; 16]).unwrap();
        assert_eq!((length, client.ip()), (5, from));
        assert!(mesh.counted("guard", "passed: not TCP, nor DNS") > before);
    }
}

/// How many TCP segments have arrived there.
fn segments(pod: &Pod) -> u64 {
    let text = pod.exec(|| fs::read_to_string("/proc/thread-self/net/snmp")).unwrap().unwrap();
    let v4 = text.lines().filter(|line| line.starts_with("Tcp:")).nth(1).unwrap();
    v4.split_whitespace().nth(10).unwrap().parse().unwrap()
}

/// How many wires have a backstop.
fn backstops(mesh: &Mesh) -> usize {
    let links = fs::read_dir(mesh.node.pin_dir().join("links")).unwrap();
    links.flatten().filter(|link| link.file_name().to_string_lossy().starts_with("backstop-")).count()
}
