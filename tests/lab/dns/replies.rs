//! What comes back: the resolver's own bytes, from where it was asked. And what is said of messages that are no queries.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use hickory_resolver::proto::{
    op::{Message, MessageType, ResponseCode},
    rr::RecordType,
};

use super::{
    Names, WEB,
    message::{self, PORT, ask, dial, query, receive, receive_framed, send_framed, told, with_edns},
};
use crate::{mesh::Mesh, road::PATIENCE, steering::wait_for};

/// What a resolver says of these to a pod outside the mesh, it says to one inside.
#[test]
fn a_forwarded_reply_is_what_the_resolver_said_byte_for_byte() {
    let names = Names::new("bytewise");
    let stranger = names.mesh.stranger("stranger");
    for (case, query) in [
        ("an address", query(1, "www.example.com", RecordType::A)),
        ("the case of its letters", query(2, "wWw.eXample.COM", RecordType::AAAA)),
        ("text", query(3, "txt.example.com", RecordType::TXT)),
        ("more than a datagram takes", query(4, "big.example.com", RecordType::TXT)),
        (
            "more than a datagram takes, with EDNS",
            with_edns(query(5, "big.example.com", RecordType::TXT), 1232),
        ),
        ("much in a large datagram", with_edns(query(6, "big.example.com", RecordType::TXT), 4096)),
        ("other records of a service", query(7, "_http._tcp.web.shop.svc.cluster.local", RecordType::SRV)),
        ("a name that is not there", query(8, "nobody.cluster.local", RecordType::A)),
        ("a name that it is not asked for", query(9, "nobody.example.org", RecordType::A)),
        ("everything of a service", query(10, WEB, RecordType::ANY)),
    ] {
        let query = query.to_vec().unwrap();
        for resolver in names.resolver.ips() {
            let [direct, proxied] = [&stranger, &names.client].map(|pod| ask(pod, resolver, &query).unwrap());
            assert_eq!(proxied, direct, "{case}: {resolver}, UDP");
            let [direct, proxied] = [&stranger, &names.client].map(|pod| {
                let stream = dial(pod, resolver).unwrap();
                send_framed(&stream, &query).unwrap();
                receive_framed(&stream).unwrap()
            });
            assert_eq!(proxied, direct, "{case}: {resolver}, TCP");
        }
    }
    let big = |message: Message| {
        ask(&names.client, names.resolver.v4().into(), &message.to_vec().unwrap()).unwrap()
    };
    let cut = Message::from_vec(&big(query(11, "big.example.com", RecordType::TXT))).unwrap();
    assert!(cut.metadata.truncation, "nothing was too long: {cut}");
    let whole = big(with_edns(query(12, "big.example.com", RecordType::TXT), 4096));
    assert!(1_400 < whole.len(), "{} bytes", whole.len());
}

/// What dig never shows, for it asks over a new connection each time.
#[test]
fn one_connection_carries_queries_for_the_mesh_and_for_the_resolver_in_any_order() {
    let names = Names::new("pipelined");
    let stream = dial(&names.client, names.resolver.v4().into()).unwrap();
    let web: IpAddr = names.web.v4.into();
    let www: IpAddr = "192.0.2.80".parse().unwrap();
    let asked =
        [(1, WEB, web), (2, "www.example.com", www), (3, "web.shop", web), (4, "www.example.com", www)];
    for (id, name, _) in asked {
        send_framed(&stream, &query(id, name, RecordType::A).to_vec().unwrap()).unwrap();
    }
    let mut replies = asked.map(|_| {
        let reply = receive_framed(&stream).unwrap();
        (u16::from_be_bytes([reply[0], reply[1]]), told(&reply).unwrap())
    });
    replies.sort();
    assert_eq!(replies, asked.map(|(id, _, address)| (id, vec![address])));
}

/// A resolver of the test's own, which sees what comes.
fn resolver(names: &Names) -> (UdpSocket, IpAddr) {
    let pod = names.mesh.stranger("listening");
    let ip = IpAddr::from(pod.v4());
    let socket = pod.exec(|| UdpSocket::bind((ip, PORT))).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, ip)
}

#[test]
fn a_forged_reply_is_not_believed() {
    let names = Names::new("forged");
    let (resolver, ip) = resolver(&names);
    let socket = message::socket(&names.client, ip);
    socket.send_to(&query(7, "www.example.com", RecordType::A).to_vec().unwrap(), (ip, PORT)).unwrap();
    let (asked, from) = receive(&resolver).unwrap();
    let asked = Message::from_vec(&asked).unwrap();
    let right = |change: fn(&mut Message)| {
        let mut reply = asked.clone();
        reply.metadata.message_type = MessageType::Response;
        change(&mut reply);
        reply.to_vec().unwrap()
    };
    let other_name = |reply: &mut Message| {
        reply.queries = query(0, "www.example.org", RecordType::A).queries;
    };
    for forged in [
        right(|reply| reply.metadata.id = reply.metadata.id.wrapping_add(1)),
        right(|reply| reply.metadata.message_type = MessageType::Query),
        right(other_name),
        b"short".to_vec(),
        Vec::new(),
    ] {
        resolver.send_to(&forged, from).unwrap();
    }
    resolver.send_to(&right(|reply| reply.metadata.response_code = ResponseCode::NXDomain), from).unwrap();
    let (reply, said_by) = receive(&socket).unwrap();
    assert_eq!((told(&reply), said_by), (Err(ResponseCode::NXDomain), (ip, PORT).into()));
    assert_eq!(u16::from_be_bytes([reply[0], reply[1]]), 7, "its own ID comes back");
}

#[test]
fn what_is_no_query_is_never_answered_nor_forwarded() {
    let names = Names::new("noquery");
    let (resolver, ip) = resolver(&names);
    let socket = message::socket(&names.client, ip);
    let mut response = query(1, WEB, RecordType::A);
    response.metadata.message_type = MessageType::Response;
    for message in [response.to_vec().unwrap(), b"no header".to_vec(), Vec::new()] {
        socket.send_to(&message, (ip, PORT)).unwrap();
    }
    // What comes next was asked next, here and there.
    let mesh = query(2, WEB, RecordType::A).to_vec().unwrap();
    socket.send_to(&mesh, (ip, PORT)).unwrap();
    let (reply, _) = receive(&socket).unwrap();
    assert_eq!((reply[1], told(&reply)), (2, Ok(vec![names.web.v4.into()])));
    let other = query(3, "www.example.com", RecordType::A).to_vec().unwrap();
    socket.send_to(&other, (ip, PORT)).unwrap();
    let (asked, _) = receive(&resolver).unwrap();
    assert_eq!(asked[2..], other[2..], "it goes on as it is, but for its ID");
    assert_eq!(dropped(&names.mesh), 3);
}

#[test]
fn malformed_messages_do_no_harm() {
    let names = Names::new("malformed");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../agent/dns/tests/seeds");
    let seeds: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(40 < seeds.len());
    let (_, silent) = resolver(&names);
    let socket = message::socket(&names.client, silent);
    let pid = names.mesh.agent.pid();
    for seed in &seeds {
        socket.send_to(seed, (silent, PORT)).unwrap();
        let stream = dial(&names.client, names.resolver.v4().into()).unwrap();
        // The proxy may have closed it already.
        let _ = send_framed(&stream, seed);
        drop(stream);
        // Bytes that are no message of the length that they say.
        let stream = dial(&names.client, names.resolver.v4().into()).unwrap();
        let _ = io::Write::write_all(&mut &stream, seed);
        drop(stream);
    }
    for resolver in names.resolver.ips() {
        let reply = ask(&names.client, resolver, &query(1, WEB, RecordType::A).to_vec().unwrap()).unwrap();
        assert_eq!(told(&reply), Ok(vec![names.web.v4.into()]));
    }
    assert_eq!(names.mesh.agent.pid(), pid);
    let log = names.mesh.agent.log().unwrap();
    assert!(!log.contains("panicked"), "{log}");
    wait_for(|| connections(&names.mesh) == 0);
}

#[test]
fn a_resolver_that_says_nothing_makes_servfail_and_one_that_is_not_there_refuses() {
    let names = Names::new("failing");
    let (_silent, ip) = resolver(&names);
    let outside = query(1, "www.example.com", RecordType::A).to_vec().unwrap();
    let begun = std::time::Instant::now();
    let reply = ask(&names.client, ip, &outside).unwrap();
    assert_eq!(told(&reply), Err(ResponseCode::ServFail));
    let taken = begun.elapsed();
    assert!(Duration::from_secs(2) <= taken && taken < PATIENCE, "{taken:?}");
    // The client hears what it would hear without us.
    for nobody_listens in names.server.ips() {
        let error = ask(&names.client, nobody_listens, &outside).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{nobody_listens}: {error}");
    }
    let nobody_listens = IpAddr::from(names.server.v4());
    let stream = dial(&names.client, nobody_listens).unwrap();
    send_framed(&stream, &query(1, "www.example.com", RecordType::A).to_vec().unwrap()).unwrap();
    let error = receive_framed(&stream).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

fn dropped(mesh: &Mesh) -> u64 {
    super::counted(mesh, "dropped")
}

fn connections(mesh: &Mesh) -> usize {
    mesh.agent.json(&["connections"]).unwrap().as_array().unwrap().len()
}
