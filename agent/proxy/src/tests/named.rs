//! Services of which only the names of the endpoints are known, with a real name server.

use hickory_proto::op::ResponseCode;
use model::{Discovery, NamedEndpoint, OutboundPolicy};
use resolver::Family;
use tokio::net::TcpListener;

use super::{name_server::*, *};

const HOST: &str = "api.test";
/// Nobody listens there, and who connects is refused at once.
const REFUSES: &str = CLIENT_SECOND;

/// A service at 240.240.0.1:443 whose endpoints are these names, and a name server.
async fn world(discovery: Discovery, names: &[(&str, u16)]) -> Option<(World, NameServer)> {
    let service = Service {
        allocated: vec!["240.240.0.1".parse().unwrap()],
        discovery,
        ports: vec![ServicePort {
            port: 443,
            names: names.iter().map(|&(host, port)| NamedEndpoint { host: host.into(), port }).collect(),
            ..ServicePort::default()
        }],
        ..Service::entry("shop", "service.test")
    };
    let snapshot = SnapshotBuilder::new(1, "cluster.local")
        .pod(namespace::model_pod("client", &[CLIENT, CLIENT_V6]))
        .pod(namespace::model_pod("server", &[SERVER, SERVER_V6]))
        .service(service)
        .build();
    let server = NameServer::new().await;
    let world = World::of(snapshot, |config| {
        config.resolvers = vec![server.addr];
        config.connect_timeout = Duration::from_millis(1_500);
    })
    .await?;
    world.steer(&world.client, "client", "240.240.0.1:443", Direction::Outbound);
    Some((world, server))
}

/// Dials the service, is served by `app` and leaves. Its record.
async fn visit(world: &World, app: &TcpListener) -> records::Record {
    let mut client = world.dial("240.240.0.1:443").await.unwrap();
    let (served, _) = app.accept().await.unwrap();
    drop(served);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    drop(client);
    world.proxy.until_quiet(&uid("client"), Duration::ZERO).await;
    world.records.only()
}

/// Dials the service and is reset. Its record.
async fn fail(world: &World) -> records::Record {
    let mut client = world.dial("240.240.0.1:443").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    world.proxy.until_quiet(&uid("client"), Duration::ZERO).await;
    world.records.only()
}

#[tokio::test]
async fn a_name_is_resolved_once_and_connected_to_from_the_clients_pod() {
    let Some((world, server)) = world(Discovery::Dns, &[(HOST, 8082)]).await else { return };
    server.knows(HOST, &[ELSEWHERE], 60);
    let app = world.client.listen(ELSEWHERE, 8082);
    for _ in 0..3 {
        let record = visit(&world, &app).await;
        for (field, expected) in [
            ("dst.addr", "240.240.0.1:443"),
            ("dst.service", "shop/service.test"),
            ("upstream.addr", "203.0.113.9:8082"),
            ("via", "forward"),
            ("stage", "copy"),
            ("reason", "closed"),
        ] {
            assert_eq!(record[field], expected, "{field}");
        }
        assert!(!record.contains_key("dst.workload"), "{record:?}");
    }
    assert_eq!(server.asked(HOST), 1);
}

#[tokio::test]
async fn a_name_that_is_used_is_asked_for_again_before_anybody_waits_for_it() {
    let Some((world, server)) = world(Discovery::Dns, &[(HOST, 8082)]).await else { return };
    server.knows(HOST, &[ELSEWHERE], 1);
    let app = world.client.listen(ELSEWHERE, 8082);
    visit(&world, &app).await;
    // Nobody comes any more who could ask.
    while server.asked(HOST) < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn connections_that_come_at_once_ask_once() {
    let Some((world, server)) = world(Discovery::Dns, &[(HOST, 8082)]).await else { return };
    server.knows(HOST, &[ELSEWHERE], 60);
    let app = world.client.listen(ELSEWHERE, 8082);
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(world.dial("240.240.0.1:443").await.unwrap());
    }
    for _ in 0..16 {
        app.accept().await.unwrap();
    }
    assert_eq!(server.asked(HOST), 1);
}

#[tokio::test]
async fn an_address_of_a_pod_of_this_node_is_delivered_as_any_other() {
    let Some((world, server)) = world(Discovery::Dns, &[(HOST, 8080)]).await else { return };
    server.knows(HOST, &[SERVER], 60);
    let app = world.server.listen(SERVER, 8080);
    let mut client = world.dial("240.240.0.1:443").await.unwrap();
    let (served, peer) = app.accept().await.unwrap();
    assert_eq!(peer, client.local_addr().unwrap(), "true address and port");
    assert_eq!(world.proxy.open_connections(&uid("server")), 1);
    world.proxy.close(&uid("server")).await;
    assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    drop(served);
    world.proxy.until_quiet(&uid("client"), Duration::ZERO).await;
    let record = world.records.only();
    for (field, expected) in [("via", "direct"), ("dst.workload", "shop/server"), ("reason", "released")] {
        assert_eq!(record[field], expected, "{field}");
    }
}

#[tokio::test]
async fn the_first_address_that_accepts_wins() {
    for (name, discovery, names, known, listening) in [
        (
            "another of the name",
            Discovery::Dns,
            &[(HOST, 8082)][..],
            &[(HOST, &[REFUSES, ELSEWHERE][..])][..],
            (ELSEWHERE, 8082),
        ),
        (
            "the other family",
            Discovery::Dns,
            &[(HOST, 8082)],
            &[(HOST, &[CLIENT_V6, REFUSES, ELSEWHERE])],
            (CLIENT_V6, 8082),
        ),
        (
            "another name, with its own port",
            Discovery::Dns,
            &[("gone.test", 443), (HOST, 8083), ("late.test", 8084)],
            &[(HOST, &[REFUSES]), ("late.test", &[ELSEWHERE])],
            (ELSEWHERE, 8084),
        ),
        (
            "an address for a name",
            Discovery::Dns,
            &[("gone.test", 443), (ELSEWHERE, 8082)],
            &[],
            (ELSEWHERE, 8082),
        ),
        (
            "DNS_ROUND_ROBIN, the first",
            Discovery::DnsRoundRobin,
            &[(HOST, 8082)],
            &[(HOST, &[ELSEWHERE, REFUSES])],
            (ELSEWHERE, 8082),
        ),
        (
            "DNS_ROUND_ROBIN, the first of the other family",
            Discovery::DnsRoundRobin,
            &[(HOST, 8082)],
            &[(HOST, &[REFUSES, ELSEWHERE, CLIENT_V6])],
            (CLIENT_V6, 8082),
        ),
    ] {
        let Some((world, server)) = world(discovery, names).await else { return };
        for (host, ips) in known {
            server.knows(host, ips, 60);
        }
        let app = world.client.listen(listening.0, listening.1);
        for _ in 0..4 {
            let record = visit(&world, &app).await;
            let listening = SocketAddr::new(listening.0.parse().unwrap(), listening.1);
            assert_eq!(record["upstream.addr"], listening.to_string(), "{name}");
        }
    }
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_comes_by_tcp() {
    let Some((world, server)) = world(Discovery::Dns, &[(HOST, 8082)]).await else { return };
    server.says(HOST, Family::V4, Say::AtLength(vec![ELSEWHERE.parse().unwrap()]));
    let app = world.client.listen(ELSEWHERE, 8082);
    assert_eq!(visit(&world, &app).await["reason"], "closed");
}

#[tokio::test]
async fn what_a_name_cannot_be_connected_to_for() {
    for (name, say, reason, error) in [
        (
            "no such name",
            None,
            "name-unknown",
            "name server 127.0.0.1 knows no address of api.test in a family that the pod has",
        ),
        (
            "no address",
            Some(Say::Addresses { ips: Vec::new(), ttl: 60 }),
            "name-unknown",
            "name server 127.0.0.1 knows no address of api.test in a family that the pod has",
        ),
        (
            "an address that means no",
            Some(Say::Addresses { ips: vec!["0.0.0.0".parse().unwrap()], ttl: 60 }),
            "name-unknown",
            "name server 127.0.0.1 knows no address of api.test in a family that the pod has",
        ),
        (
            "a server that fails",
            Some(Say::Code(ResponseCode::ServFail)),
            "resolver-failed",
            "cannot resolve api.test: name server 127.0.0.1: DNS error: error response: Server Failure",
        ),
        (
            "a server that refuses",
            Some(Say::Code(ResponseCode::Refused)),
            "resolver-failed",
            "cannot resolve api.test: name server 127.0.0.1: DNS error: error response: Query Refused",
        ),
        (
            "a silent server",
            Some(Say::Nothing),
            "resolver-failed",
            "cannot resolve api.test: name server 127.0.0.1 did not answer within 1.5s",
        ),
        (
            "nobody there",
            Some(Say::Addresses { ips: vec![REFUSES.parse().unwrap()], ttl: 60 }),
            "connect-refused",
            "cannot connect to 198.51.100.7:8082: Connection refused (os error 111)",
        ),
    ] {
        let Some((world, server)) = world(Discovery::Dns, &[(HOST, 8082)]).await else { return };
        if let Some(say) = say {
            server.says(HOST, Family::V4, say.clone());
            let other = if matches!(say, Say::Addresses { .. }) {
                Say::Addresses { ips: Vec::new(), ttl: 60 }
            } else {
                say
            };
            server.says(HOST, Family::V6, other);
        }
        let record = fail(&world).await;
        assert_eq!((&*record["reason"], &*record["error"]), (reason, error), "{name}");
        assert_eq!(record["dst.service"], "shop/service.test", "{name}");
    }
}

#[tokio::test]
async fn a_silent_family_is_not_waited_for() {
    let Some((world, server)) = world(Discovery::Dns, &[(HOST, 8082)]).await else { return };
    server.knows(HOST, &[ELSEWHERE], 60);
    server.says(HOST, Family::V6, Say::Nothing);
    let app = world.client.listen(ELSEWHERE, 8082);
    let begun = tokio::time::Instant::now();
    visit(&world, &app).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_last_answer_is_used_while_the_name_server_fails_and_a_new_one_once_it_does_not() {
    let Some((world, server)) = world(Discovery::Dns, &[(HOST, 8082)]).await else { return };
    server.knows(HOST, &[ELSEWHERE], 1);
    let app = world.client.listen(ELSEWHERE, 8082);
    visit(&world, &app).await;
    for family in [Family::V4, Family::V6] {
        server.says(HOST, family, Say::Code(ResponseCode::ServFail));
    }
    // Of each failure there are two tries.
    while server.asked(HOST) < 5 {
        assert_eq!(visit(&world, &app).await["upstream.addr"], "203.0.113.9:8082");
    }
    server.knows(HOST, &[CLIENT_SECOND], 60);
    let moved = world.client.listen(CLIENT_SECOND, 8082);
    loop {
        let mut client = world.dial("240.240.0.1:443").await.unwrap();
        let is_moved = tokio::select! {
            served = moved.accept() => { drop(served); true }
            served = app.accept() => { drop(served); false }
        };
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        if is_moved {
            return;
        }
    }
}

#[tokio::test]
async fn what_nobody_has_is_refused_under_registry_only() {
    let mut pod = namespace::model_pod("client", &[CLIENT, CLIENT_V6]);
    pod.outbound_policy = OutboundPolicy::RegistryOnly;
    let snapshot = SnapshotBuilder::new(1, "cluster.local").pod(pod).build();
    let Some(world) = World::of(snapshot, |_| {}).await else { return };
    world.steer(&world.client, "client", "203.0.113.77:443", Direction::Outbound);
    let mut client = world.dial("203.0.113.77:443").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    world.proxy.until_quiet(&uid("client"), Duration::ZERO).await;
    let record = world.records.only();
    assert_eq!((&*record["reason"], &*record["stage"]), ("not-registered", "resolve"));
    assert!(!record.contains_key("dst.service"), "{record:?}");
}
