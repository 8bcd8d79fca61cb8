//! What a pod may take of the proxy: whoever takes more is told so at once, and nobody else feels it.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    net::SocketAddr,
    time::Duration,
};

use harness::{Count, Mode, Pod};
use serde_json::Value;

use crate::{
    mesh::{Mesh, dial},
    steering::wait_for,
    traces::Traces,
};

/// An echo server, at an address that no other test server has.
const PORT: u16 = 7;

#[test]
fn a_connection_over_the_limit_of_a_pod_is_reset_at_once_and_says_which_limit() {
    let mesh = Mesh::configured("podlimit", "limits: {connections-per-pod: 20}");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let (stranger, elsewhere) = (mesh.stranger("stranger"), mesh.stranger("elsewhere"));
    let _servers = [&server, &elsewhere].map(|pod| pod.serve(Mode::Crowd, PORT).unwrap());
    for (name, from, to, limited) in [
        ("one hop on one node", &client, &server, &client),
        ("outbound only", &client, &elsewhere, &client),
        ("inbound only", &stranger, &server, &server),
    ] {
        for ip in to.ips() {
            let before = (mesh.ended("pod-limit"), refused(&mesh, limited));
            let mut crowd = from.crowd((ip, PORT).into(), 30, &[]).unwrap();
            let standing = crowd.standing().unwrap();
            assert_eq!(standing.open, 20, "{name}: {standing:?}");
            assert_reset(&standing, 10, name);
            assert_eq!(mesh.ended("pod-limit"), before.0 + 10, "{name}");
            assert_eq!(refused(&mesh, limited), before.1 + 10, "{name}");
            let status = mesh.ask(&["status"]);
            let problems = status["problems"].as_array().unwrap().iter().filter_map(Value::as_str);
            let named = |problem: &str| {
                problem.contains(&limited.full_name())
                    && problem.contains("limits.connections-per-pod allows, 20")
            };
            assert!(problems.into_iter().any(named), "{name}: {status}");
            // Those that stand are none the worse for it, and there is room again when they go.
            assert_eq!(crowd.exchange().unwrap().open, 20, "{name}");
            crowd.end().unwrap();
            wait_for(|| open(&mesh) == 0);
        }
    }
    let record = mesh.records().into_iter().find(|record| record["reason"] == "pod-limit").unwrap();
    assert_eq!(record["src.workload"], client.full_name(), "{record}");
    assert_eq!(record["dst.addr"], SocketAddr::from((server.v4(), PORT)).to_string(), "{record}");
    assert!(record["error"].as_str().unwrap().contains("limits.connections-per-pod"), "{record}");
    let warnings = mesh.agent.log().unwrap().matches("Connections are refused").count();
    assert!((2..60).contains(&warnings), "60 refusals of two pods in {warnings} warnings");
}

#[test]
fn a_pod_that_opens_all_it_can_keeps_nobody_out() {
    let mesh = Mesh::configured("greedy", "limits: {connections: 800}");
    let (greedy, server) = (mesh.pod("greedy"), mesh.pod("server"));
    let neighbours = ["one", "two", "three"].map(|name| mesh.pod(name));
    let _server = server.serve(Mode::Crowd, PORT).unwrap();
    let addr = SocketAddr::from((server.v4(), PORT));
    let traces = Traces::of(&mesh, &[&greedy, &server, &neighbours[0]]);
    for _round in 0..2 {
        let mut crowd = greedy.crowd(addr, 900, &[]).unwrap();
        let standing = crowd.standing().unwrap();
        // A twentieth is kept, and is not the greedy pod's.
        assert_eq!(standing.open, 760, "{standing:?}");
        assert_reset(&standing, 140, "greedy");
        // It goes on trying.
        let trying = greedy.load(addr, &["--workers", "2", "--pause-ms", "0"]).unwrap();
        for neighbour in &neighbours {
            let mut few = neighbour.crowd(addr, 2, &[]).unwrap();
            assert_eq!(few.standing().unwrap(), Count::all(2), "{}", neighbour.name());
            few.end().unwrap();
            let load = neighbour.load(addr, &["--workers", "1", "--count", "50"]).unwrap();
            let told = load.outcome(Duration::from_secs(30)).unwrap();
            assert_eq!(
                (&told["connections"], &told["failures"]),
                (&50.into(), &serde_json::json!({})),
                "{told}"
            );
        }
        let told = trying.stop().unwrap();
        assert_eq!(told["connections"], 0, "{told}");
        assert_eq!(crowd.end().unwrap().open, 760);
        wait_for(|| open(&mesh) == 0);
        // What nobody takes is anybody's.
        let mut many = neighbours[0].crowd(addr, 700, &[]).unwrap();
        assert_eq!(many.standing().unwrap(), Count::all(700));
        many.end().unwrap();
        traces.assert_gone(&mesh);
    }
    assert!(0 < mesh.ended("node-limit") && mesh.ended("pod-limit") == 0);
}

#[test]
fn out_of_descriptors_connections_are_reset_and_come_back_by_themselves() {
    let mesh = Mesh::labelled("emfile");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _server = server.serve(Mode::Crowd, PORT).unwrap();
    let addr = SocketAddr::from((server.v4(), PORT));
    let traces = Traces::of(&mesh, &[&client, &server]);
    let pid = mesh.agent.pid().unwrap();

    mesh.agent.limit_files(limit_with_room_for(60, pid)).unwrap();
    let mut crowd = client.crowd(addr, 100, &[]).unwrap();
    let standing = crowd.standing().unwrap();
    assert!((10..=40).contains(&standing.open), "{standing:?}");
    assert_reset(&standing, 100 - standing.open as u64, "no more descriptors");
    let standing = standing.open;
    // Each is recorded after its descriptors are closed and the spare one is back. Nobody can be asked now.
    wait_for(|| out_of_descriptors(&mesh) == 100 - standing);
    // Not one: only the spare descriptor is left to accept with.
    mesh.agent.limit_files(limit_with_room_for(0, pid)).unwrap();
    let more = client.crowd(addr, 20, &[]).unwrap().standing().unwrap();
    assert_eq!(more.open, 0, "{more:?}");
    assert_reset(&more, 20, "not one descriptor");
    assert_eq!(crowd.exchange().unwrap().open, standing, "those that stand go on");
    mesh.agent.limit_files(limit_with_room_for(4, pid)).unwrap();
    crowd.end().unwrap();
    wait_for(|| open(&mesh) == 0);
    let (mut again, _) = dial(&client, addr, &[]);
    again.ping("room again").unwrap();
    drop(again);
    assert_eq!(out_of_descriptors(&mesh), 120 - standing, "{:?}", mesh.records());
    let warnings = mesh.agent.log().unwrap().matches("Connections are refused").count();
    assert!((1..10).contains(&warnings), "{warnings} warnings");

    mesh.agent.limit_files(20_000).unwrap();
    let mut crowd = client.crowd(addr, 100, &[]).unwrap();
    assert_eq!(crowd.standing().unwrap(), Count::all(100));
    crowd.end().unwrap();
    traces.assert_gone(&mesh);
}

/// Not even the spare descriptor helps where no number is left: then the agent waits, and does not spin.
#[test]
fn without_a_single_descriptor_the_agent_rests_and_serves_who_waited() {
    let mesh = Mesh::labelled("nofile");
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _server = server.serve(Mode::Crowd, PORT).unwrap();
    let addr = SocketAddr::from((server.v4(), PORT));
    let pid = mesh.agent.pid().unwrap();
    mesh.agent.limit_files(3).unwrap();
    let mut crowd = client.crowd(addr, 10, &[]).unwrap();
    wait_for(|| mesh.agent.log().unwrap().contains("Cannot accept; will retry"));
    // A loop that does not rest takes all of a processor.
    let before = processor_time(pid);
    std::thread::sleep(Duration::from_secs(1));
    let spent = processor_time(pid) - before;
    assert!(spent < Duration::from_millis(200), "{spent:?} of a second without a descriptor");
    mesh.agent.limit_files(20_000).unwrap();
    assert_eq!(crowd.standing().unwrap(), Count::all(10), "they waited, and were served");
    crowd.end().unwrap();
}

/// A low limit that is there from the start is known: what the agent cannot serve it refuses before it is short.
#[test]
fn the_limits_follow_from_the_files_that_the_agent_may_open() {
    let lab = harness::Lab::new("files").unwrap();
    let node = lab.node("a").unwrap();
    let options = harness::AgentOptions::default().arg("--log-json").files(1_000);
    let agent = node.agent(options).unwrap();
    let mesh = Mesh { agent, node, lab };
    mesh.label(Some("ambient"));
    let (client, server) = (mesh.pod("client"), mesh.pod("server"));
    let _server = server.serve(Mode::Crowd, PORT).unwrap();
    let mut crowd = client.crowd((server.v4(), PORT).into(), 500, &[]).unwrap();
    let standing = crowd.standing().unwrap();
    // (1000 - 256) / 2 connections, of which a twentieth is kept.
    assert_eq!(standing.open, 372 - 18, "{standing:?}");
    assert_eq!(mesh.ended("out-of-descriptors"), 0);
    crowd.end().unwrap();
}

/// How slow the neighbours get is printed, and measured by `cargo xtask bench`: here they must not fail.
#[test]
fn a_pod_that_trickles_never_reads_or_opens_all_it_can_harms_no_neighbour() {
    const MIB: u64 = 1 << 20;
    let mesh = Mesh::configured("neighbours", "limits: {connections: 2000, buffers: 8Mi}");
    let (bad, good, server) = (mesh.pod("bad"), mesh.pod("good"), mesh.pod("server"));
    // Two, for it is not the server that they are to share.
    let _servers = [PORT, PORT + 1].map(|port| server.serve(Mode::Crowd, port).unwrap());
    let [addr, others] = [PORT, PORT + 1].map(|port| SocketAddr::from((server.v4(), port)));
    // What the kernel holds for those that do not read is theirs; it need not be much.
    for pod in [&bad, &server] {
        for memory in ["net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem"] {
            pod.sysctl(memory, "4096 131072 262144").unwrap();
        }
    }
    let traces = Traces::of(&mesh, &[&bad, &good, &server]);
    let idle = mesh.agent.resident().unwrap();
    let measure = |beside: &str| {
        let load = good.load(others, &["--workers", "8", "--rate", "200", "--count", "400"]).unwrap();
        let told = load.outcome(Duration::from_secs(60)).unwrap();
        println!("beside {beside}: p99 {} ms, slowest {} ms", told["p99_ms"], told["slowest_ms"]);
        assert_eq!(
            (&told["connections"], &told["failures"]),
            (&400.into(), &serde_json::json!({})),
            "{told}"
        );
    };
    measure("nobody");
    for (beside, connections, conduct) in [
        ("a pod that trickles", 1_000, "trickle"),
        ("a pod that never reads", 200, "deaf"),
        ("a pod that opens all it can", 2_500, "idle"),
    ] {
        let mut crowd = bad.crowd(addr, connections, &["--conduct", conduct]).unwrap();
        let standing = crowd.standing().unwrap().open;
        // A twentieth of them is kept for others.
        assert_eq!(standing, connections.min(1_900), "{beside}");
        let trying = bad.load(addr, &["--workers", "2", "--pause-ms", "0"]).unwrap();
        measure(beside);
        trying.stop().unwrap();
        drop(crowd);
        traces.assert_gone(&mesh);
    }
    // The buffers; as many that are kept for the next taker; of every connection 4 KiB each way, and its state.
    let bound = idle + 2 * 8 * MIB + 2_000 * (2 * (4 << 10) + (12 << 10));
    let most = mesh.agent.most_resident().unwrap();
    println!("memory: {} MiB idle, {} MiB at most, bound {} MiB", idle / MIB, most / MIB, bound / MIB);
    assert!(most <= bound, "the agent has had {most} bytes of memory, more than {bound}");
}

/// Each of the failed connections was reset; none of them waited in vain.
#[track_caller]
fn assert_reset(count: &Count, expected: u64, what: &str) {
    let Count { failures, .. } = count;
    let of_reset = |(name, _): &(&String, &u64)| name.ends_with("ECONNRESET") || name.ends_with("EPIPE");
    assert!(failures.iter().all(|failure| of_reset(&failure)), "{what}: {failures:?}");
    assert_eq!(sum(failures), expected, "{what}: {failures:?}");
}

fn sum(failures: &BTreeMap<String, u64>) -> u64 {
    failures.values().sum()
}

/// How many records say so.
fn out_of_descriptors(mesh: &Mesh) -> usize {
    mesh.records().iter().filter(|record| record["reason"] == "out-of-descriptors").count()
}

fn open(mesh: &Mesh) -> u64 {
    mesh.ask(&["status"])["connections"].as_u64().unwrap()
}

/// How many of its connections were refused for want of room, as `millstream pods` has it.
fn refused(mesh: &Mesh, pod: &Pod) -> u64 {
    let rows = mesh.ask(&["pods"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["uid"] == *pod.uid()).unwrap();
    row["refused_connections"].as_u64().unwrap()
}

/// The limit under which the process can open so many files more. It holds for their numbers, of which the lowest
/// free is taken.
fn limit_with_room_for(files: usize, pid: u32) -> u32 {
    let numbers = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let taken: HashSet<u32> = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    (0..).filter(|number| !taken.contains(number)).nth(files).unwrap()
}

/// What the process has had of the processors.
fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in brackets, may hold anything.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |field: usize| fields[field].parse::<u64>().unwrap();
    // The kernel counts for user space in hundredths of a second.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}
