//! Much data: all of it arrives, and nobody keeps what the reader does not want yet.

use std::{
    fs,
    io::{ErrorKind, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use harness::{Agent, Mode};

use crate::{
    mesh::Mesh,
    road::{Roads, accept, connect, listen},
};

/// 2 GiB each way, both ways at once, over each road: every byte is compared.
#[test]
fn a_big_stream_arrives_whole() {
    const BYTES: u64 = 2 << 30;
    let roads = Roads::new("big");
    for road in roads.all.iter().filter(|road| road.name != "no proxy") {
        let server = road.server.serve(Mode::Echo, 0).unwrap();
        let addr = SocketAddr::new(road.server.v4().into(), server.addr().port());
        let args = ["--mode", "echo", "--bytes", &BYTES.to_string()];
        let mut client = road.client.dial(addr, &args).unwrap();
        client.connected().unwrap();
        let outcome = client.process().json(Duration::from_secs(120)).unwrap();
        assert_eq!(outcome["intact"], true, "{}: {outcome}", road.name);
        assert_eq!(outcome["received"], BYTES, "{}: {outcome}", road.name);
    }
}

/// A gibibyte is offered to readers that do not read.
#[test]
fn a_slow_reader_slows_the_writer_and_costs_no_memory() {
    const READERS: usize = 16;
    const OFFERED: usize = 64 << 20;
    // What the sockets of one connection may hold, and one copy buffer at its largest.
    const HELD: usize = 8 << 20;
    let mesh = Mesh::labelled("slow");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    for pod in [&client, &server] {
        // The kernel's own share is the pod's to bound.
        pod.sysctl("net/ipv4/tcp_rmem", "4096 131072 1048576").unwrap();
        pod.sysctl("net/ipv4/tcp_wmem", "4096 131072 1048576").unwrap();
    }
    let listener = listen(&server, (server.v4(), 7).into());
    let pairs: Vec<_> = (0..READERS)
        .map(|_| (connect(&client, (server.v4(), 7).into()).unwrap(), accept(&listener)))
        .collect();

    let before = resident(&mesh.agent);
    let accepted: Vec<_> = thread::scope(|scope| {
        let offering: Vec<_> =
            pairs.iter().map(|(client, _)| scope.spawn(|| offer(client, OFFERED))).collect();
        offering.into_iter().map(|offering| offering.join().unwrap()).collect()
    });
    let grown = resident(&mesh.agent).saturating_sub(before);
    for bytes in accepted {
        assert!(bytes < HELD, "{bytes} bytes were taken that nobody reads");
    }
    // A copy buffer each is at most 1 MiB.
    assert!(grown < (READERS + 8) << 20, "the agent grew by {grown} bytes");
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

/// `VmRSS`, in bytes.
fn resident(agent: &Agent) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}
