//! What the guard costs: of each packet that leaves a captured pod, and of each that it turns.

use std::net::SocketAddr;

use anyhow::Result;

use crate::{
    markdown::{Table, short},
    middle::median,
    programs::Strangers,
    progress,
    report::{Report, Section},
    road::{Road, Stage},
    workload::number,
};

/// How a ping gets to a server outside the mesh.
#[derive(Clone, Copy)]
struct Way {
    title: &'static str,
    road: Road,
    device: Option<&'static str>,
}

const WAYS: [Way; 3] = [
    Way { title: "direct", road: Road::Direct, device: None },
    Way { title: "captured by the hook, forwarded", road: Road::Ours, device: None },
    Way { title: "bound to eth0: turned by the guard, forwarded", road: Road::Ours, device: Some("eth0") },
];

/// What one run found.
struct Found {
    p50: f64,
    p99: f64,
    /// Runs of the guard for each ping, and nanoseconds for each run.
    guard: Option<(f64, f64)>,
}

pub(crate) fn run(report: &mut Report, rounds: u32, seconds: u64) -> Result<()> {
    let mut found = WAYS.map(|_| Vec::new());
    for round in 1..=rounds {
        for (way, runs) in WAYS.into_iter().zip(&mut found) {
            let run = ping(way, seconds)?;
            progress!("round {round}/{rounds}  guard  {}: p50 {} µs", way.title, short(run.p50));
            runs.push(run);
        }
    }
    let mut table = Table::new(&["", "p50 µs", "p99 µs", "guard runs per ping", "ns per run"]);
    for (way, runs) in WAYS.into_iter().zip(&found) {
        let middle = |of: fn(&Found) -> Option<f64>| {
            median(runs.iter().filter_map(of)).map_or_else(String::new, short)
        };
        table.row([
            way.title.to_owned(),
            middle(|run| Some(run.p50)),
            middle(|run| Some(run.p99)),
            middle(|run| run.guard.map(|(runs, _)| runs)),
            middle(|run| run.guard.map(|(_, each)| each)),
        ]);
    }
    report.sections.push(Section {
        title: "The guard",
        text: "64-byte ping-pong with a server outside the mesh, so that the proxy's own connection passes the guard \
               too. Timed by the kernel (`kernel.bpf_stats_enabled`).",
        table,
    });
    Ok(())
}

fn ping(way: Way, seconds: u64) -> Result<Found> {
    let strangers = Strangers::look();
    let mut stage = Stage::build(way.road)?;
    let outside = stage.node.pod("elsewhere", "outside").start()?;
    let addr: SocketAddr = stage.serve_in(&outside, "echo", 1)?;
    let (addr, seconds) = (addr.to_string(), seconds.to_string());
    let args = ["ping", addr.as_str(), "--seconds", seconds.as_str()];
    let device = way.device.map(|device| ["--device", device]);
    let args: Vec<_> = args.into_iter().chain(device.into_iter().flatten()).collect();
    let clock = strangers.clock()?;
    let found = stage.load(&args)?;
    let guard = match way.road {
        Road::Ours => {
            let runs = clock.read("guard")?;
            Some((runs.count as f64 / number(&found, "pings")?, runs.each()))
        }
        Road::Direct | Road::Redirect | Road::Beside => None,
    };
    Ok(Found { p50: number(&found, "p50_us")?, p99: number(&found, "p99_us")?, guard })
}
