//! The pipelines in real network namespaces. They need root and say so where they have not got it.
//!
//! No eBPF steers here: the "steered" listener of a test is bound to the very address that the application
//! dials. That leaves out what only the lab can show, an inbound connection that reaches its application.

mod name_server;
mod named;
mod namespace;
mod records;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use model::{
    Affinity, ClientAddr, Endpoint, EndpointAddr, EndpointState, Marks, ObjectName, PodUid, Service,
    ServicePort, Snapshot, SnapshotBuilder,
};
use namespace::{AGENT, CAPTURED, Namespace, root};
use records::Records;
use socket2::{Domain, SockAddr, SockRef};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{Direction, Error, PodNetns, Proxy, ProxyConfig, Reason, accept, record::Record, socket};

/// The client's pod and the server's.
const CLIENT: &str = "198.51.100.1";
const CLIENT_SECOND: &str = "198.51.100.7";
const SERVER: &str = "198.51.100.2";
const CLIENT_V6: &str = "2001:db8:1::1";
const SERVER_V6: &str = "2001:db8:1::2";
/// An address in the client's namespace that is no pod's, so that it is reached by forwarding.
const ELSEWHERE: &str = "203.0.113.9";

/// A service whose ports lead to the server's pod (80, 81), elsewhere (82) and nowhere (83).
const VIP: &str = "192.0.2.10";

struct World {
    proxy: Proxy,
    client: Namespace,
    server: Namespace,
    records: Records,
}

#[tokio::test]
async fn a_pod_of_this_node_is_delivered_in_its_own_namespace_under_the_clients_address() {
    let Some(world) = World::new(|_| {}).await else { return };
    let app = world.server.listen(SERVER, 8080);
    let mut client = world.dial("192.0.2.10:80").await.unwrap();
    let (mut served, peer) = app.accept().await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap(), "true address and port");

    client.write_all(b"ping").await.unwrap();
    let mut ping = [0; 4];
    served.read_exact(&mut ping).await.unwrap();
    let row = world.proxy.connections().remove(0);
    assert_eq!((row.bytes_sent, row.upstream.unwrap().to_string()), (4, format!("{SERVER}:8080")));
    assert_eq!(serde_json::to_value(&row).unwrap()["stage"], "copy");
    assert_eq!(world.proxy.open_connections(&uid("client")), 1);
    assert_eq!(world.proxy.open_connections(&uid("server")), 1);

    drop(served);
    assert_eq!(client.read(&mut ping).await.unwrap(), 0);
    drop(client);
    world.proxy.until_quiet(&uid("server"), Duration::from_millis(10)).await;
    world.proxy.until_quiet(&uid("client"), Duration::from_millis(10)).await;

    let record = world.records.only();
    for (field, expected) in [
        ("message", "connection closed"),
        ("src.addr", &peer.to_string()),
        ("src.workload", "shop/client"),
        ("dst.addr", "192.0.2.10:80"),
        ("dst.service", "shop/web"),
        ("dst.workload", "shop/server"),
        ("upstream.addr", "198.51.100.2:8080"),
        ("direction", "outbound"),
        ("stage", "copy"),
        ("bytes_sent", "4"),
        ("bytes_received", "0"),
        ("reason", "closed"),
    ] {
        assert_eq!(record[field], expected, "{field}");
    }
    assert!(!record.contains_key("error"));
    assert!(world.proxy.connections().is_empty());
}

#[tokio::test]
async fn ipv6_is_no_different() {
    let Some(world) = World::new(|_| {}).await else { return };
    let app = world.server.listen(SERVER_V6, 8080);
    world.steer(&world.client, "client", "[2001:db8::10]:80", Direction::Outbound);
    let client = world.client.socket(Domain::IPV6, CAPTURED);
    client.bind(&bound(CLIENT_V6, 0)).unwrap();
    let mut client = namespace::connect(client, "[2001:db8::10]:80").await.unwrap();
    let (served, peer) = app.accept().await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap(), "true address and port");
    drop(served);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);

    // Nobody listens any more: refused at once.
    drop(app);
    let client = world.client.socket(Domain::IPV6, CAPTURED);
    client.bind(&bound(CLIENT_V6, 0)).unwrap();
    let mut client = namespace::connect(client, "[2001:db8::10]:80").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(count(&world, Reason::ConnectRefused), 1);
}

#[tokio::test]
async fn a_connection_whose_task_is_dropped_has_its_record_too() {
    let Some(world) = World::new(|_| {}).await else { return };
    let pod = world.proxy.shared().pods.get(&uid("client")).unwrap();
    let client = ClientAddr("198.51.100.1:40000".parse().unwrap());
    let record = Record::begin(world.proxy.shared(), &pod, Direction::Outbound, client);
    assert_eq!(world.proxy.connections().len(), 1);
    drop(record);
    assert_eq!(world.records.only()["reason"], "aborted");
    assert!(world.proxy.connections().is_empty());
}

#[tokio::test]
async fn a_port_that_is_taken_at_the_server_gives_way_to_one_of_the_range() {
    let Some(world) = World::new(|_| {}).await else { return };
    let app = world.server.listen(SERVER, 8080);
    let client = world.client.socket(Domain::IPV4, CAPTURED);
    client.bind(&bound(CLIENT, 40_000)).unwrap();
    // The application of the server's pod has this port itself.
    let _taken = world.server.listen("0.0.0.0", 40_000);
    let _client = namespace::connect(client, "192.0.2.10:80").await.unwrap();
    let (_served, peer) = app.accept().await.unwrap();
    assert_eq!(peer.ip().to_string(), CLIENT);
    assert!((61_000..=65_535).contains(&peer.port()), "{peer}");
}

#[tokio::test]
async fn a_pod_reaches_itself_through_the_vip() {
    let Some(world) = World::new(|_| {}).await else { return };
    let app = world.client.listen(CLIENT, 8085);
    // Released, it still must not be forwarded: it would come back.
    world.proxy.release(&uid("client"));
    let mut client = world.dial("192.0.2.10:85").await.unwrap();
    let (mut served, peer) = app.accept().await.unwrap();
    assert_eq!(peer.ip().to_string(), CLIENT);
    served.write_all(b"x").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
    assert_eq!(world.proxy.open_connections(&uid("client")), 1, "counted once");
}

#[tokio::test]
async fn an_endpoint_elsewhere_is_forwarded_with_the_agents_mark() {
    let Some(world) = World::new(|_| {}).await else { return };
    let app = world.client.listen(ELSEWHERE, 8082);
    let _client = world.dial("192.0.2.10:82").await.unwrap();
    let (served, peer) = app.accept().await.unwrap();
    // `tcp_fwmark_accept` shows what the proxy's socket had.
    assert_eq!(SockRef::from(&served).mark().unwrap(), AGENT);
    assert_eq!(peer.ip().to_string(), ELSEWHERE, "the kernel's own choice");

    // What the application had bound and marked itself goes on.
    let client = world.client.socket(Domain::IPV4, CAPTURED | 0x40);
    client.bind(&bound(CLIENT_SECOND, 0)).unwrap();
    let _client = namespace::connect(client, "192.0.2.10:82").await.unwrap();
    let (served, peer) = app.accept().await.unwrap();
    assert_eq!(SockRef::from(&served).mark().unwrap(), AGENT | 0x40);
    assert_eq!(peer.ip().to_string(), CLIENT_SECOND);
}

#[tokio::test]
async fn what_cannot_be_served_is_reset_with_its_reason() {
    let Some(world) = World::new(|config| config.connect_timeout = Duration::from_millis(300)).await else {
        return;
    };
    for (dialled, reason, stage) in [
        ("192.0.2.10:81", Reason::ConnectRefused, "deliver"),
        ("192.0.2.10:82", Reason::ConnectRefused, "forward"),
        ("192.0.2.10:83", Reason::NoEndpoint, "resolve"),
        ("192.0.2.10:84", Reason::UnknownPort, "resolve"),
        ("192.0.2.10:86", Reason::Unreachable, "forward"),
    ] {
        let mut client = world.dial(dialled).await.unwrap();
        let end = client.read_u8().await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset, "{dialled}");
        world.proxy.until_quiet(&uid("client"), Duration::ZERO).await;
        let record = world.records.only();
        assert_eq!(record["reason"], reason.label(), "{dialled}: {record:?}");
        assert_eq!((&*record["message"], &*record["stage"]), ("connection refused", stage), "{dialled}");
        assert_eq!(record["dst.service"], "shop/web", "{dialled}");
        assert!(
            world
                .proxy
                .reasons()
                .contains(&(reason, if stage == "deliver" { 1 } else { count(&world, reason) }))
        );
    }
}

#[tokio::test]
async fn a_server_that_does_not_accept_is_waited_for_no_longer_than_the_timeout() {
    let Some(world) = World::new(|config| config.connect_timeout = Duration::from_millis(400)).await else {
        return;
    };
    // Full: one connection waits, and there is room for no other.
    let app = world.server.socket(Domain::IPV4, 0);
    app.bind(&bound(SERVER, 8080)).unwrap();
    app.listen(0).unwrap();
    let _waiting = world.dial("192.0.2.10:80").await.unwrap();
    while world.proxy.connections().iter().all(|row| row.stage != crate::Stage::Copy) {
        tokio::task::yield_now().await;
    }
    let mut client = world.dial("192.0.2.10:80").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    while world.proxy.connections().len() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.records.only()["reason"], "connect-timeout");
}

#[tokio::test]
async fn connections_of_the_proxy_that_come_back_are_refused() {
    let Some(world) = World::new(|_| {}).await else { return };
    let agents = world.client.socket(Domain::IPV4, CAPTURED | AGENT);
    agents.bind(&bound(CLIENT, 0)).unwrap();
    let mut client = namespace::connect(agents, "192.0.2.10:80").await.unwrap();
    assert!(client.read_u8().await.is_err());
    world.proxy.until_quiet(&uid("client"), Duration::ZERO).await;
    assert_eq!(world.records.only()["reason"], "own-connection");

    // A delivery has no mark of the agent; it is known by its addresses.
    world.steer(&world.server, "server", "198.51.100.2:8080", Direction::Inbound);
    let mut client = world.dial("192.0.2.10:80").await.unwrap();
    assert!(client.read_u8().await.is_err());
    world.proxy.until_quiet(&uid("client"), Duration::ZERO).await;
    world.proxy.until_quiet(&uid("server"), Duration::ZERO).await;
    let reasons: Vec<_> = world.records.take().into_iter().map(|record| record["reason"].clone()).collect();
    assert!(reasons.contains(&"own-connection".to_owned()), "{reasons:?}");
    assert_eq!(reasons.len(), 2, "once back, not for ever: {reasons:?}");
}

#[tokio::test]
async fn dialling_a_listener_of_the_proxy_is_refused() {
    let Some(world) = World::new(|_| {}).await else { return };
    for port in [15_001, 15_006] {
        let mut client = world.dial(&format!("127.0.0.1:{port}")).await.unwrap();
        assert!(client.read_u8().await.is_err());
        world.proxy.until_quiet(&uid("client"), Duration::ZERO).await;
        assert_eq!(world.records.only()["reason"], "own-listener");
    }
}

#[tokio::test]
async fn a_released_pod_is_not_delivered_in_and_a_closed_one_is_left() {
    let Some(world) = World::new(|_| {}).await else { return };
    let app = world.server.listen(SERVER, 8080);
    let mut client = world.dial("192.0.2.10:80").await.unwrap();
    let _served = app.accept().await.unwrap();

    world.proxy.release(&uid("server"));
    let mut forwarded = world.dial("192.0.2.10:80").await.unwrap();
    assert!(forwarded.read_u8().await.is_err());
    world.proxy.recapture(&uid("server"));
    let _delivered = world.dial("192.0.2.10:80").await.unwrap();
    let _served = app.accept().await.unwrap();

    world.proxy.close(&uid("server")).await;
    assert_eq!(world.proxy.open_connections(&uid("client")), 0);
    assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(count(&world, Reason::Released), 2);
    assert_eq!(world.records.take().len(), 3);
    // Its ports are free again.
    let _free = world.server.listen("127.0.0.1", 15_001);
}

#[tokio::test]
async fn a_drain_waits_for_the_deadline_and_resets_the_rest() {
    let Some(world) = World::new(|_| {}).await else { return };
    let app = world.server.listen(SERVER, 8080);
    let mut stays = world.dial("192.0.2.10:80").await.unwrap();
    let _served = app.accept().await.unwrap();
    let ends = world.dial("192.0.2.10:80").await.unwrap();
    let ending = app.accept().await.unwrap();

    let (drained, ()) = tokio::join!(world.proxy.drain(Duration::from_millis(200)), async {
        drop(ends);
        drop(ending);
    });
    assert_eq!((drained.finished, drained.reset), (1, 1));
    assert_eq!(stays.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(count(&world, Reason::DrainDeadline), 1);
    let opened = world.proxy.open(world.server.pod("late", SERVER));
    assert!(matches!(opened, Err(Error::Draining { .. })), "{opened:?}");
}

#[tokio::test]
async fn an_idle_connection_is_reset_after_the_idle_timeout() {
    let Some(world) = World::new(|config| config.idle_timeout = Some(Duration::from_millis(100))).await
    else {
        return;
    };
    let app = world.server.listen(SERVER, 8080);
    let mut client = world.dial("192.0.2.10:80").await.unwrap();
    let _served = app.accept().await.unwrap();
    assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    world.proxy.until_quiet(&uid("client"), Duration::ZERO).await;
    assert_eq!(world.records.only()["reason"], "idle-timeout");
}

#[tokio::test]
async fn the_keepalive_of_either_application_is_copied_to_the_far_side() {
    let Some(world) =
        World::new(|config| config.keepalive_probe_after = Some(Duration::from_millis(50))).await
    else {
        return;
    };
    for client_wants in [true, false] {
        let app = world.server.listen(SERVER, 8080);
        let client = world.dial("192.0.2.10:80").await.unwrap();
        let (served, peer) = app.accept().await.unwrap();
        let (wanting, far) = if client_wants {
            // The far side of the client is the proxy's delivery socket in the server's namespace.
            (&client, (&world.server, peer, served.local_addr().unwrap()))
        } else {
            (&served, (&world.client, client.peer_addr().unwrap(), client.local_addr().unwrap()))
        };
        assert_eq!(far.0.keepalive(far.1, far.2), None);
        let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(77));
        SockRef::from(wanting).set_tcp_keepalive(&keepalive).unwrap();
        let copied = loop {
            match far.0.keepalive(far.1, far.2) {
                Some(left) => break left,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        assert!((75..=78).contains(&copied.as_secs()), "{copied:?}");
    }
}

#[tokio::test]
async fn session_affinity_keeps_a_client_at_its_endpoint() {
    let Some(world) = World::new(|_| {}).await else { return };
    let apps = [world.server.listen(SERVER, 8001), world.server.listen(SERVER, 8002)];
    let mut open = Vec::new();
    let mut served = [0, 0];
    for _ in 0..6 {
        // The load stays, so without affinity both would be used.
        open.push(world.dial("192.0.2.20:80").await.unwrap());
        tokio::select! {
            one = apps[0].accept() => { open.push(one.unwrap().0); served[0] += 1; }
            two = apps[1].accept() => { open.push(two.unwrap().0); served[1] += 1; }
        }
    }
    served.sort_unstable();
    assert_eq!(served, [0, 6]);
}

#[tokio::test]
async fn a_pod_is_opened_in_the_families_that_it_has() {
    if !root() {
        return;
    }
    let proxy = proxy(ProxyConfig::new(marks()), Snapshot::default().into());

    let both = Namespace::new(&[]).await;
    let listeners = proxy.open(both.pod("both", CLIENT)).unwrap();
    assert!(listeners.outbound_v4.is_some() && listeners.inbound_v4.is_some());
    assert!(listeners.outbound_v6.is_some() && listeners.inbound_v6.is_some());
    assert!(matches!(proxy.open(both.pod("both", CLIENT)), Err(Error::AlreadyOpen { .. })));

    let v4_only = Namespace::new(&[]).await;
    v4_only.sysctl("net/ipv6/ip_nonlocal_bind", "0");
    v4_only.sysctl("net/ipv6/conf/all/disable_ipv6", "1");
    // The application has the port.
    let _taken = v4_only.listen("127.0.0.1", 15_001);
    let listeners = proxy.open(v4_only.pod("v4-only", CLIENT)).unwrap();
    assert!(listeners.outbound_v4.is_some() && listeners.outbound_v6.is_none());
    let outbound = SockRef::from(listeners.outbound_v4.as_ref().unwrap()).local_addr().unwrap();
    assert_ne!(outbound.as_socket().unwrap().port(), 15_001);
}

// === impl World ===

impl World {
    /// `None` without root.
    async fn new(change: impl FnOnce(&mut ProxyConfig)) -> Option<Self> {
        let world = Self::of(cluster(), change).await?;
        for port in 80..=86 {
            world.steer(&world.client, "client", &format!("{VIP}:{port}"), Direction::Outbound);
        }
        world.steer(&world.client, "client", "192.0.2.20:80", Direction::Outbound);
        Some(world)
    }

    async fn of(cluster: Arc<Snapshot>, change: impl FnOnce(&mut ProxyConfig)) -> Option<Self> {
        if !root() {
            return None;
        }
        let client = Namespace::new(&[CLIENT, CLIENT_SECOND, CLIENT_V6, ELSEWHERE]).await;
        let server = Namespace::new(&[SERVER, SERVER_V6]).await;
        let mut config = ProxyConfig::new(marks());
        change(&mut config);
        let world = Self { proxy: proxy(config, cluster), client, server, records: Records::new() };
        let addresses = [CLIENT, CLIENT_V6].map(|ip| ip.parse().unwrap()).into();
        let client = PodNetns { addresses, ..world.client.pod("client", CLIENT) };
        drop(world.proxy.open(client).unwrap());
        drop(world.proxy.open(world.server.pod("server", SERVER)).unwrap());
        Some(world)
    }

    /// Has the proxy accept what is dialled at `addr` in the namespace.
    fn steer(&self, namespace: &Namespace, name: &str, addr: &str, direction: Direction) {
        let listener = namespace.run(|| socket::outbound_listener(addr.parse().unwrap())).unwrap();
        let listener = TcpListener::from_std(listener.into()).unwrap();
        let shared = self.proxy.shared();
        let pod = shared.pods.get(&uid(name)).unwrap();
        accept::start(shared, &pod, listener, direction);
    }

    /// As the client's application, captured.
    async fn dial(&self, addr: &str) -> io::Result<TcpStream> {
        let socket = self.client.socket(Domain::IPV4, CAPTURED);
        if !addr.starts_with("127.") {
            // Without eBPF and the route's `src`, the source would be the address dialled.
            socket.bind(&bound(CLIENT, 0))?;
        }
        namespace::connect(socket, addr).await
    }
}

fn proxy(config: ProxyConfig, snapshot: Arc<Snapshot>) -> Proxy {
    Proxy::new(config, "node-a".into(), watch::channel(snapshot).1).unwrap()
}

fn marks() -> Marks {
    Marks { captured: CAPTURED, agent: AGENT }
}

fn uid(name: &str) -> PodUid {
    PodUid::new(name)
}

fn bound(ip: &str, port: u16) -> SockAddr {
    SocketAddr::new(ip.parse().unwrap(), port).into()
}

fn count(world: &World, reason: Reason) -> u64 {
    world.proxy.reasons().into_iter().find(|(r, _)| *r == reason).unwrap().1
}

fn cluster() -> Arc<Snapshot> {
    let service = |name: &str, vips: &[&str], ports: &[(u16, &[&str])], affinity| Service {
        vips: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
        ports: ports
            .iter()
            .map(|&(port, endpoints)| ServicePort {
                name: port.to_string().into(),
                port,
                endpoints: endpoints.iter().map(|addr| endpoint(addr)).collect(),
                ..ServicePort::default()
            })
            .collect(),
        affinity,
        ..Service::kubernetes(ObjectName::new("shop", name), "cluster.local")
    };
    let web: &[(u16, &[&str])] = &[
        (80, &["198.51.100.2:8080", "[2001:db8:1::2]:8080"]),
        (81, &["198.51.100.2:8081"]),
        (82, &["203.0.113.9:8082"]),
        (83, &[]),
        (85, &["198.51.100.1:8085"]),
        (86, &["203.0.113.200:80"]),
    ];
    let sticky: &[(u16, &[&str])] = &[(80, &["198.51.100.2:8001", "198.51.100.2:8002"])];
    SnapshotBuilder::new(1, "cluster.local")
        .pod(namespace::model_pod("client", &[CLIENT, CLIENT_V6]))
        .pod(namespace::model_pod("server", &[SERVER, SERVER_V6]))
        .service(service("web", &[VIP, "2001:db8::10"], web, Affinity::None))
        .service(service("sticky", &["192.0.2.20"], sticky, Affinity::ClientIp(Duration::from_secs(60))))
        .build()
}

fn endpoint(addr: &str) -> Endpoint {
    Endpoint {
        addr: EndpointAddr(addr.parse().unwrap()),
        state: EndpointState::Ready,
        node: None,
        pod: None,
        hostname: None,
    }
}

impl Namespace {
    fn pod(&self, name: &str, primary: &str) -> PodNetns {
        PodNetns {
            uid: uid(name),
            name: ObjectName::new("shop", name),
            netns: self.netns(),
            addresses: vec![primary.parse().unwrap()],
        }
    }
}
