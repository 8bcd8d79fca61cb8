//! Time limits, endpoints that cannot be reached, and keepalive.

use std::{
    io::{ErrorKind, Read},
    net::SocketAddr,
    time::{Duration, Instant},
};

use harness::Place;
use socket2::{SockRef, TcpKeepalive};

use super::BOTH_ENDS;
use crate::{
    mesh::Mesh,
    road::{End, Pair, Road, Roads, accept, carry, connect, listen, reset},
    steering::wait_for,
};

#[test]
fn an_idle_connection_is_reset_after_the_idle_timeout() {
    let roads = Roads::configured("idle", "proxy: {idle-timeout: 1s}");
    for pair in roads.pairs().filter(|pair| !pair.name.starts_with("no proxy")) {
        let begun = Instant::now();
        carry(&pair.client, &pair.server, b"hello", &pair.name);
        for mut end in [&pair.client, &pair.server] {
            assert_eq!(end.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset, "{}", pair.name);
        }
        // A proxy counts in milliseconds.
        assert!(begun.elapsed() > Duration::from_millis(990), "{}: after {:?}", pair.name, begun.elapsed());
    }
    assert!(roads.mesh.ended("idle-timeout") > 0);
}

#[test]
fn one_that_moves_bytes_now_and_then_is_not_idle() {
    let mesh = Mesh::configured("notidle", "proxy: {idle-timeout: 2s}");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let listener = listen(&server, (server.v4(), 7).into());
    let (to, from) = (connect(&client, (server.v4(), 7).into()).unwrap(), accept(&listener));
    let begun = Instant::now();
    // One direction is enough.
    while begun.elapsed() < Duration::from_secs(5) {
        carry(&to, &from, b"still here", "not idle");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(mesh.ended("idle-timeout"), 0);
}

/// The proxy accepts before it knows better, so the client is reset as soon as the endpoint, the network or the
/// patience of the proxy says no.
#[test]
fn an_endpoint_that_cannot_be_reached_resets_the_client() {
    let mesh = Mesh::configured("unreachable", "proxy: {connect-timeout: 1s}");
    let client = mesh.pod("client");
    let route = |place: &Place, args: &[&str]| {
        let args: Vec<_> = ["ip", "route", "add"].iter().chain(args).collect();
        place.run(&args).unwrap().stdout().unwrap();
    };
    route(&client, &["prohibit", "198.51.100.1"]);
    route(&client, &["unreachable", "198.51.100.2"]);
    route(&client, &["unreachable", "2001:db8::2"]);
    // The first router answers, or swallows.
    route(&mesh.node, &["unreachable", "198.51.100.3"]);
    route(&mesh.node, &["blackhole", "198.51.100.4"]);
    // The kernel asks three times who has an address, then says that nobody has: within the proxy's patience.
    client.sysctl("net/ipv4/neigh/eth0/retrans_time_ms", "50").unwrap();
    for (case, ip, reason) in [
        ("prohibited by a route", "198.51.100.1", "unreachable"),
        ("unreachable by a route", "198.51.100.2", "unreachable"),
        ("unreachable by a route, IPv6", "2001:db8::2", "unreachable"),
        ("ICMP says so", "198.51.100.3", "unreachable"),
        ("nobody on the link has the address", "10.1.0.250", "unreachable"),
        ("nobody answers", "198.51.100.4", "connect-timeout"),
    ] {
        let before = mesh.ended(reason);
        let begun = Instant::now();
        let addr = SocketAddr::new(ip.parse().unwrap(), 80);
        let error = connect(&client, addr).and_then(|mut stream| stream.read(&mut [0])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{case}");
        let timed_out = begun.elapsed() >= Duration::from_secs(1);
        assert!(timed_out || reason != "connect-timeout", "{case}: gave up after {:?}", begun.elapsed());
        wait_for(|| mesh.ended(reason) == before + 1);
    }
}

#[test]
fn a_client_that_gives_up_while_the_proxy_connects_is_let_go() {
    let mesh = Mesh::configured("giveup", "proxy: {connect-timeout: 60s}");
    let client = mesh.pod("client");
    mesh.node.run(&["ip", "route", "add", "blackhole", "198.51.100.4"]).unwrap().stdout().unwrap();
    let stream = connect(&client, "198.51.100.4:80".parse().unwrap()).unwrap();
    wait_for(|| mesh.is_proxied(stream.local_addr().unwrap()));
    reset(stream);
    wait_for(|| mesh.ended("client-reset") == 1);
}

/// A probe that an application's kernel sends is answered by the proxy's: beyond it, the proxy has to ask.
#[test]
fn the_wish_for_keepalive_is_carried_across() {
    let roads = Roads::configured("keepalive", "proxy: {keepalive-probe-after: 1s}");
    for road in &roads.all {
        let wishing: &[End] = match road.name {
            "no proxy" => &[],
            "outbound only" => &[End::Client],
            "inbound only" => &[End::Server],
            _ => &BOTH_ENDS,
        };
        for &end in wishing {
            // The one without the wish goes first: when the other has been looked at, it has been too.
            let [without, with] = [(); 2].map(|()| road.connect(road.server.v4().into()));
            let application = if end == End::Client { &with.client } else { &with.server };
            let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(600));
            SockRef::from(application).set_tcp_keepalive(&keepalive).unwrap();
            wait_for(|| far_socket(road, &with, end).contains("timer:(keepalive"));
            let timer = far_socket(road, &with, end);
            // Less the moments since.
            assert!(
                timer.contains("keepalive,9min") || timer.contains("keepalive,10min"),
                "{}: {timer}",
                with.name
            );
            let unasked = far_socket(road, &without, end);
            assert!(unasked.contains("ESTAB") && !unasked.contains("timer"), "{}: {unasked}", with.name);
        }
    }
}

/// What `ss` says of the socket that the proxy of this end's node has towards the other end.
fn far_socket(road: &Road, pair: &Pair, end: End) -> String {
    let service = pair.client.peer_addr().unwrap();
    let one_hop = road.name.starts_with("one hop");
    let (own, other) =
        if end == End::Client { (&road.client, &road.server) } else { (&road.server, &road.client) };
    // In one hop it is in the other pod, else in our own, beside the application's.
    let pod = if one_hop { other } else { own };
    let filter = match end {
        End::Client if one_hop => format!("dst {service}"),
        End::Client => format!("dst {service} and sport != :{}", pair.client.local_addr().unwrap().port()),
        End::Server if one_hop => format!("src {service}"),
        End::Server => format!("src {service} and dport != :{}", pair.server.peer_addr().unwrap().port()),
    };
    let output = pod.run(&["ss", "--no-header", "--tcp", "--options", "--numeric", &filter]).unwrap();
    output.stdout().unwrap().to_owned()
}
