//! What a pod feels of a neighbour that takes all it can get: of the proxy it shares with it, and without one.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use harness::{AgentOptions, Crowd, Load, Mode, Pod, Server};

use crate::{
    markdown::{Table, short},
    middle::median,
    progress,
    report::{Report, Section, Target},
    road::{NAMESPACE, PATIENCE, Road, Stage},
    workload::{Bound, number},
};

/// How the neighbour behaves. Beside what is said here it opens short connections one after the other, two at a time.
#[derive(Clone, Copy, Debug)]
struct Neighbour {
    title: &'static str,
    connections: usize,
    conduct: &'static str,
}

/// `None`: nobody is there.
const NEIGHBOURS: [Option<Neighbour>; 5] = [
    None,
    Some(Neighbour { title: "that trickles, 1000 connections", connections: 1_000, conduct: "trickle" }),
    Some(Neighbour { title: "that never reads, 40 connections", connections: 40, conduct: "deaf" }),
    // Their data takes more than a gigabyte of the kernel's memory, however they go.
    Some(Neighbour { title: "that never reads, 200 connections", connections: 200, conduct: "deaf" }),
    Some(Neighbour { title: "that opens all it can", connections: 2_500, conduct: "idle" }),
];
/// What the agent may have open: room for some 2100 connections, fewer than the greedy neighbour wants.
const FILES: u32 = 4_500;

const ROADS: [Road; 2] = [Road::Beside, Road::Ours];
const MOST: Bound = Bound::AtMost(2.0);

/// Well below what the machine can do: what is late waited for others.
const RATE: u64 = 200;
/// A p99 of fewer is one of a handful of connections, and of those in the first second, in which the neighbour begins.
const SECONDS: u64 = 10;
const PORTS: [u16; 2] = [7, 8];

/// The neighbour at its work, until dropped.
struct Busy {
    _crowd: Crowd,
    _trying: Load,
}

pub(crate) fn run(report: &mut Report, rounds: u32) -> Result<()> {
    let mut found = NEIGHBOURS.map(|_| ROADS.map(|_| Vec::new()));
    for round in 1..=rounds {
        for (neighbour, found) in NEIGHBOURS.into_iter().zip(&mut found) {
            for (road, found) in ROADS.into_iter().zip(found) {
                let p99 = p99(road, neighbour)?;
                progress!(
                    "round {round}/{rounds}  fairness  {road}, beside {}: p99 {} ms",
                    title(neighbour),
                    short(p99)
                );
                found.push(p99);
            }
        }
    }
    let medians = found.map(|roads| roads.map(|runs| median(runs).unwrap_or_default()));
    let [[uncaptured_alone, captured_alone], ..] = medians;
    let mut table = Table::new(&[
        "beside a pod",
        "uncaptured, ms",
        "÷ alone",
        "captured, ms",
        "÷ alone",
        "moved by the proxy",
        "captured ÷ uncaptured",
    ]);
    for (neighbour, [uncaptured, captured]) in NEIGHBOURS.into_iter().zip(medians) {
        let (by_machine, in_all) = (uncaptured / uncaptured_alone, captured / captured_alone);
        let by_proxy = in_all / by_machine;
        table.row([
            title(neighbour).to_owned(),
            short(uncaptured),
            format!("{by_machine:.2}"),
            short(captured),
            format!("{in_all:.2}"),
            format!("{by_proxy:.2}"),
            format!("{:.2}", captured / uncaptured),
        ]);
        if neighbour.is_some() {
            report.targets.push(Target {
                what: format!("p99 moved by the proxy beside a pod {}", title(neighbour)),
                wanted: MOST.to_string(),
                found: format!("{by_proxy:.2}"),
                met: MOST.holds(by_proxy),
                workload: None,
            });
        }
    }
    report.sections.push(Section {
        title: "Fairness",
        text: "The p99 of connect-request-close at 200 a second for 10 s, 8 clients, from a pod that shares the proxy with another. \
               All share two cores, so a neighbour's own programs move the p99 of an uncaptured pod too. *Moved by the proxy*: how \
               many times further they move that of a captured one, which shares the proxy with them as well.",
        table,
    });
    Ok(())
}

/// Milliseconds.
fn p99(road: Road, neighbour: Option<Neighbour>) -> Result<f64> {
    let stage = Stage::with(road, AgentOptions::default().files(FILES))?;
    let bad = stage.node.pod(NAMESPACE, "bad").start()?;
    if road == Road::Ours {
        stage.agent()?.wait_captured(&bad)?;
    }
    let [servers_of_bad, servers_of_good] = PORTS.map(|port| serve(&stage.server, port));
    let ((_of_bad, bad_addr), (_of_good, addr)) = (servers_of_bad?, servers_of_good?);
    let busy = neighbour.map(|neighbour| neighbour.start(&bad, bad_addr)).transpose()?;
    let count = (RATE * SECONDS).to_string();
    let rate = RATE.to_string();
    let args = ["--workers", "8", "--rate", rate.as_str(), "--count", count.as_str()];
    let told = stage.client.load(addr, &args)?.outcome(PATIENCE)?;
    drop(busy);
    ensure!(told["failures"].as_object().is_some_and(serde_json::Map::is_empty), "some failed: {told}");
    number(&told, "p99_ms")
}

fn serve(pod: &Pod, port: u16) -> Result<(Server, SocketAddr)> {
    Ok((pod.serve(Mode::Crowd, port)?, SocketAddr::from((pod.v4(), port))))
}

fn title(neighbour: Option<Neighbour>) -> &'static str {
    neighbour.map_or("alone", |neighbour| neighbour.title)
}

// === impl Neighbour ===

impl Neighbour {
    fn start(self, pod: &Pod, addr: SocketAddr) -> Result<Busy> {
        let Self { connections, conduct, title: _ } = self;
        let mut crowd = pod.crowd(addr, connections, &["--conduct", conduct])?;
        let _refused_are_meant_to_be = crowd.standing()?;
        let trying = pod.load(addr, &["--workers", "2", "--pause-ms", "0"])?;
        Ok(Busy { _crowd: crowd, _trying: trying })
    }
}
