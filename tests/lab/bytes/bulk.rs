//! Much data: all of it arrives, and nobody keeps what the reader does not want yet.

use std::{
    io::{ErrorKind, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use harness::Mode;

use crate::{
    mesh::Mesh,
    road::{Roads, accept, connect, listen, rest},
};

/// Both ways at once, and every byte is compared: 10 GiB in all through one proxy, less where there are two.
#[test]
fn a_big_stream_arrives_whole() {
    let roads = Roads::new("big");
    for road in roads.all.iter().filter(|road| road.name != "no proxy") {
        let each_way: u64 = if road.name.starts_with("one hop") { 5 << 30 } else { 1 << 30 };
        let server = road.server.serve(Mode::Echo, 0).unwrap();
        let addr = SocketAddr::new(road.server.v4().into(), server.addr().port());
        let args = ["--mode", "echo", "--bytes", &each_way.to_string()];
        let mut client = road.client.dial(addr, &args).unwrap();
        client.connected().unwrap();
        let outcome = client.process().json(Duration::from_secs(200)).unwrap();
        assert_eq!(outcome["intact"], true, "{}: {outcome}", road.name);
        assert_eq!(outcome["received"], each_way, "{}: {outcome}", road.name);
    }
}

/// A gibibyte is offered to readers that do not read.
#[test]
fn a_slow_reader_slows_the_writer_and_costs_no_memory() {
    const READERS: usize = 16;
    const OFFERED: usize = 64 << 20;
    /// What the four sockets of one connection may hold and one copy buffer, with room to spare.
    const HELD: usize = 8 << 20;
    /// The largest copy buffer for each.
    const GROWTH: u64 = (READERS as u64) << 20;
    let mesh = Mesh::labelled("slow");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    for pod in [&client, &server] {
        // The kernel's own share is the pod's to bound.
        pod.sysctl("net/ipv4/tcp_rmem", "4096 131072 1048576").unwrap();
        pod.sysctl("net/ipv4/tcp_wmem", "4096 131072 1048576").unwrap();
    }
    let addr = SocketAddr::from((server.v4(), 7));
    let listener = listen(&server, addr);
    let pairs: Vec<_> = (0..READERS).map(|_| (connect(&client, addr).unwrap(), accept(&listener))).collect();

    let before = mesh.agent.resident().unwrap();
    let taken: Vec<_> = thread::scope(|scope| {
        let offering: Vec<_> =
            pairs.iter().map(|(client, _)| scope.spawn(|| offer(client, OFFERED))).collect();
        offering.into_iter().map(|offering| offering.join().unwrap()).collect()
    });
    let grown = mesh.agent.resident().unwrap().saturating_sub(before);
    assert!(taken.iter().all(|&bytes| bytes < HELD), "taken although nobody reads: {taken:?}");
    assert!(grown < GROWTH, "the agent grew by {grown} bytes");
    // What was taken arrives as soon as somebody reads.
    for ((client, server), bytes) in pairs.iter().zip(taken) {
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(server, "after all").len(), bytes);
    }
}

/// Writes until nothing more is taken; how much was.
fn offer(mut stream: &TcpStream, bytes: usize) -> usize {
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let chunk = vec![7; 64 << 10];
    let mut taken = 0;
    while taken < bytes {
        match stream.write(&chunk) {
            Ok(n) => taken += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) => panic!("{e}"),
        }
    }
    taken
}
