//! Thousands of connections at once and one after the other.
//!
//! No time is asserted: whoever stalls a connection lets its SYN be sent again, and those are counted.

use std::{net::SocketAddr, time::Duration};

use harness::{AgentOptions, Count, Mode, Place};
use serde_json::{Value, json};

use crate::{
    mesh::{Mesh, NAMESPACE},
    traces::Traces,
};

const PORT: u16 = 7;
/// Where the machine itself would be too slow, the load fails instead of hanging.
const LONGEST: Duration = Duration::from_secs(120);

/// SYNs that had to be sent again, in several namespaces together.
struct Retransmitted<'a> {
    places: Vec<&'a Place>,
    before: u64,
}

#[test]
fn a_thousand_new_connections_a_second_beside_5000_live_ones_of_the_same_client() {
    let mesh = Mesh::labelled("fivek");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let (stranger, elsewhere) = (mesh.stranger("stranger"), mesh.stranger("elsewhere"));
    let _servers = [&server, &elsewhere].map(|pod| pod.serve(Mode::Crowd, PORT).unwrap());
    let traces = Traces::of(&mesh, &[&client, &server]);
    for (name, from, to) in [
        ("one hop on one node", &client, &server),
        ("outbound only", &client, &elsewhere),
        ("inbound only", &stranger, &server),
    ] {
        let retransmitted = Retransmitted::so_far(&[from, to, &mesh.node]);
        let addr = SocketAddr::from((to.v4(), PORT));
        let mut crowd = from.crowd(addr, 5_000, &[]).unwrap();
        assert_eq!(crowd.standing().unwrap(), Count::all(5_000), "{name}");
        let load = from.load(addr, &["--workers", "16", "--rate", "1000", "--count", "2000"]).unwrap();
        assert_unharmed(&load.outcome(LONGEST).unwrap(), 2_000, name);
        assert_eq!(crowd.exchange().unwrap(), Count::all(5_000), "{name}");
        assert_eq!(crowd.end().unwrap(), Count::all(5_000), "{name}");
        retransmitted.assert_none(name);
        traces.assert_gone(&mesh);
    }
}

/// What one agent forwards another delivers, and their ports must not meet.
#[test]
fn new_connections_to_a_captured_pod_of_another_node_beside_live_ones_of_the_same_client() {
    let mesh = Mesh::labelled("twonodes");
    let other = mesh.lab.node("b").unwrap();
    let agent = other.agent(AgentOptions::default()).unwrap();
    let client = mesh.pod("client");
    let server = other.pod(NAMESPACE, "server").start().unwrap();
    agent.wait_captured(&server).unwrap();
    let _server = server.serve(Mode::Crowd, PORT).unwrap();
    for ip in server.ips() {
        let addr = SocketAddr::from((ip, PORT));
        let retransmitted = Retransmitted::so_far(&[&client, &server]);
        let mut crowd = client.crowd(addr, 1_000, &[]).unwrap();
        assert_eq!(crowd.standing().unwrap(), Count::all(1_000), "{ip}");
        let load = client.load(addr, &["--workers", "16", "--rate", "500", "--count", "1000"]).unwrap();
        assert_unharmed(&load.outcome(LONGEST).unwrap(), 1_000, &ip.to_string());
        assert_eq!(crowd.end().unwrap(), Count::all(1_000), "{ip}");
        retransmitted.assert_none(&ip.to_string());
    }
}

#[test]
fn nine_thousand_connections_of_one_pod_to_one_destination() {
    let mesh = Mesh::labelled("ninek");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let elsewhere = mesh.stranger("elsewhere");
    let _servers = [&server, &elsewhere].map(|pod| pod.serve(Mode::Crowd, PORT).unwrap());
    let traces = Traces::of(&mesh, &[&client, &server]);
    let idle = mesh.agent.resident().unwrap();
    for (name, to) in [("one hop on one node", &server), ("outbound only", &elsewhere)] {
        let retransmitted = Retransmitted::so_far(&[&client, to, &mesh.node]);
        let mut crowd = client.crowd((to.v4(), PORT).into(), 9_000, &[]).unwrap();
        assert_eq!(crowd.standing().unwrap(), Count::all(9_000), "{name}");
        let taken = mesh.agent.resident().unwrap().saturating_sub(idle) / 9_000;
        println!("{name}: {taken} bytes of memory a connection");
        assert!(taken <= 16 << 10, "{name}: {taken} bytes of memory a connection");
        assert_eq!(crowd.exchange().unwrap(), Count::all(9_000), "{name}");
        assert_eq!(crowd.end().unwrap(), Count::all(9_000), "{name}");
        retransmitted.assert_none(name);
        traces.assert_gone(&mesh);
    }
}

/// The proxy's own connections need ports too, and are not to halve those that the application has.
#[test]
fn a_pod_has_all_its_ports_for_one_destination_elsewhere() {
    let mesh = Mesh::labelled("ports");
    let (client, elsewhere) = (mesh.pod("client"), mesh.stranger("elsewhere"));
    let _server = elsewhere.serve(Mode::Crowd, PORT).unwrap();
    client.sysctl("net/ipv4/ip_local_port_range", "32768 32967").unwrap();
    for ip in elsewhere.ips() {
        let mut crowd = client.crowd((ip, PORT).into(), 200, &[]).unwrap();
        assert_eq!(crowd.standing().unwrap(), Count::all(200), "{ip}");
        crowd.end().unwrap();
    }
}

/// A client that opens and ends connections faster than its ports come back: all of them are in TIME_WAIT soon, and
/// are used again from there, as `tcp_tw_reuse` allows after a second.
#[test]
fn churn_with_every_port_in_time_wait_loses_nothing() {
    churn("churned", 10_000, "32768 40959");
}

#[test]
#[ignore = "minutes long: run by name"]
fn churn_goes_on_for_minutes_without_a_fall_in_rate() {
    for (name, told) in churn("churning", 250_000, "32768 60999") {
        let each_second: Vec<_> =
            told["each_second"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        // The last second is not a whole one.
        let whole = &each_second[..each_second.len() - 1];
        let tenth = (whole.len() / 10).max(1);
        let (first, last) = (&whole[..tenth], &whole[whole.len() - tenth..]);
        let per_second = |seconds: &[u64]| seconds.iter().sum::<u64>() / seconds.len() as u64;
        let (first, last) = (per_second(first), per_second(last));
        println!("{name}: {first} connections a second at first, {last} at last");
        assert!(first * 3 <= last * 4, "{name}: {first} connections a second at first, {last} at last");
    }
}

/// Opens so many over each road; what the loads tell.
fn churn(lab: &str, connections: u64, ports: &str) -> Vec<(&'static str, Value)> {
    let mesh = Mesh::labelled(lab);
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let (stranger, elsewhere) = (mesh.stranger("stranger"), mesh.stranger("elsewhere"));
    let _servers = [&server, &elsewhere].map(|pod| pod.serve(Mode::Crowd, PORT).unwrap());
    for pod in [&client, &stranger] {
        pod.sysctl("net/ipv4/ip_local_port_range", ports).unwrap();
        pod.sysctl("net/ipv4/tcp_tw_reuse", "1").unwrap();
        // On a machine with little memory the kernel keeps fewer.
        pod.sysctl("net/ipv4/tcp_max_tw_buckets", "65536").unwrap();
    }
    let roads = [
        ("one hop on one node", &client, &server),
        ("outbound only", &client, &elsewhere),
        ("inbound only", &stranger, &server),
    ];
    let mut told = Vec::new();
    for (name, from, to) in roads {
        let retransmitted = Retransmitted::so_far(&[from, to, &mesh.node]);
        let count = connections.to_string();
        let args = ["--workers", "8", "--pause-ms", "0", "--count", &count];
        let load = from.load((to.v4(), PORT).into(), &args).unwrap();
        let outcome = load.outcome(LONGEST * 5).unwrap();
        assert_unharmed(&outcome, connections, name);
        retransmitted.assert_none(name);
        // connect() takes the other half of the ports only when none of the first is left, and one that has waited
        // for a second may be taken again: on a slow machine some are, before the last has been used.
        let waiting = in_time_wait(from);
        assert!(3_000 < waiting, "{name}: {waiting} in TIME_WAIT");
        told.push((name, outcome));
    }
    assert_eq!(mesh.ended("no-source-port"), 0);
    told
}

fn in_time_wait(place: &Place) -> u64 {
    let text = place.exec(|| std::fs::read_to_string("/proc/thread-self/net/sockstat")).unwrap().unwrap();
    let mut words = text.lines().find(|line| line.starts_with("TCP:")).unwrap().split_whitespace();
    words.find(|word| *word == "tw").unwrap();
    words.next().unwrap().parse().unwrap()
}

/// Every one of `expected` connections did what it should; how fast is printed.
#[track_caller]
#[expect(clippy::print_stdout, reason = "measured, and not asserted")]
fn assert_unharmed(told: &Value, expected: u64, what: &str) {
    println!("{what}: {told}");
    assert_eq!((&told["connections"], &told["failures"]), (&json!(expected), &json!({})), "{what}: {told}");
}

// === impl Retransmitted ===

impl<'a> Retransmitted<'a> {
    fn so_far(places: &[&'a Place]) -> Self {
        let places = places.to_vec();
        let before = Self::count(&places);
        Self { places, before }
    }

    #[track_caller]
    fn assert_none(&self, what: &str) {
        assert_eq!(Self::count(&self.places) - self.before, 0, "{what}: SYNs were sent again");
    }

    fn count(places: &[&Place]) -> u64 {
        places.iter().map(|place| place.network_counter("TcpExt", "TCPSynRetrans").unwrap()).sum()
    }
}
