//! How fast a captured pod is, beside no mesh and beside what is replaced.
#![expect(clippy::print_stdout, reason = "a report is what a bench prints")]

use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    comparison::Comparison,
    enrolment, fairness, guard, memory, profile, progress,
    report::{Circumstances, Report},
    sustained, uncaptured,
    workload::Workload,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each measurement is made; the medians count
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long each takes; the sustained one takes 40 times as long
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Only this, printed and not written down; may be given again
    #[arg(long, value_enum)]
    only: Vec<Part>,
}

/// What there is to measure.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    #[value(name = "bulk-1")]
    Bulk1,
    #[value(name = "bulk-8")]
    Bulk8,
    Ping,
    #[value(name = "connect-1")]
    Connect1,
    #[value(name = "connect-16")]
    Connect16,
    Http,
    HttpClose,
    /// What an uncaptured pod pays
    Uncaptured,
    /// What the guard costs
    Guard,
    Enrolment,
    Memory,
    /// What a pod feels of a bad neighbour
    Fairness,
    Sustained,
}

/// So that `--seconds 3` makes two minutes.
const SUSTAINED: u64 = 40;
/// What the chapter of a whole run begins with.
const TITLE: &str = "How fast a captured pod is";
const SETTING: &str = "\
Two pods on one bridge of one node. *direct*: no agent on the machine. *ours*: both pods captured, one agent, access \
records written. *REDIRECT*: what is replaced, a proxy that listens in both namespaces behind nftables REDIRECT (which \
`iptables` makes too) at the client's and at the server's side, finds the destination by `SO_ORIGINAL_DST`, and runs the \
very copy code of ours; it resolves nothing and writes no record. The roads take turns, each run on new namespaces, so \
that no TIME_WAIT of one is in the way of the next. In connect-request-close the server ends first, as HTTP servers do: \
TIME_WAIT is at its side and takes no port from the client.";

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { rounds, seconds, ref only } = *args;
    let begun = Instant::now();
    let parts = if only.is_empty() { Part::value_variants() } else { only };
    let mut report = Report::default();

    let workloads: Vec<_> = parts.iter().filter_map(|part| part.workload()).collect();
    Comparison::run(&workloads, rounds, seconds)?.report(&mut report);
    for part in parts {
        match part {
            Part::Uncaptured => uncaptured::run(&mut report, rounds, seconds)?,
            Part::Guard => guard::run(&mut report, rounds, seconds)?,
            Part::Enrolment => enrolment::run(&mut report)?,
            Part::Memory => memory::run(&mut report)?,
            Part::Fairness => fairness::run(&mut report, rounds)?,
            Part::Sustained => sustained::run(&mut report, seconds * SUSTAINED)?,
            // Compared above.
            Part::Bulk1
            | Part::Bulk8
            | Part::Ping
            | Part::Connect1
            | Part::Connect16
            | Part::Http
            | Part::HttpClose => {}
        }
    }
    profile::run(&mut report, seconds);

    println!("\n{report}");
    if only.is_empty() {
        let circumstances =
            Circumstances { title: TITLE, command: "capture", setting: SETTING, rounds, seconds };
        report.write(&circumstances)?;
        println!("written to tests/bench/RESULTS.md");
    }
    progress!("{} s in all", begun.elapsed().as_secs());
    Ok(())
}

// === impl Part ===

impl Part {
    /// `None` for what is not compared over all roads.
    fn workload(self) -> Option<Workload> {
        match self {
            Self::Bulk1 => Some(Workload::Bulk1),
            Self::Bulk8 => Some(Workload::Bulk8),
            Self::Ping => Some(Workload::Ping),
            Self::Connect1 => Some(Workload::Connect1),
            Self::Connect16 => Some(Workload::Connect16),
            Self::Http => Some(Workload::Http),
            Self::HttpClose => Some(Workload::HttpClose),
            Self::Uncaptured
            | Self::Guard
            | Self::Enrolment
            | Self::Memory
            | Self::Fairness
            | Self::Sustained => None,
        }
    }
}
