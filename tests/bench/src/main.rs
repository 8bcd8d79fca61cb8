//! `cargo xtask bench capture`: how fast a captured pod is, beside no mesh and beside what is replaced.
//!
//! ```text
//! road.rs         what lies between two pods, and the stage it is set on
//! workload.rs     what is done over a road
//! comparison.rs   every workload over every road, in turn
//! uncaptured.rs guard.rs enrolment.rs memory.rs fairness.rs sustained.rs     the single questions
//! report.rs       tables, targets, profiles
//! bin/load        clients and servers        bin/redirect    what is replaced
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool tells what it does")]

use std::{fs, path::Path, process::ExitCode, thread, time::Instant};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::{
    comparison::Comparison,
    report::{Circumstances, Report},
    workload::Workload,
};

mod comparison;
mod enrolment;
mod fairness;
mod guard;
mod markdown;
mod memory;
mod middle;
mod profile;
mod programs;
mod report;
mod road;
mod sustained;
mod uncaptured;
mod usage;
mod workload;

/// Measures capture against no mesh, and against REDIRECT.
#[derive(Parser)]
struct Args {
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

/// A line that tells how far we are.
#[macro_export]
macro_rules! progress {
    ($($what:tt)*) => { eprintln!("    {}", format_args!($($what)*)) };
}

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md");
/// So that `--seconds 3` makes two minutes.
const SUSTAINED: u64 = 40;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
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
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("which kernel is this?")?;
        let cores = thread::available_parallelism()?.get();
        let circumstances = Circumstances { cores, kernel: kernel.trim().to_owned(), rounds, seconds };
        report.write(&circumstances, Path::new(RESULTS))?;
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
