//! `cargo xtask bench capture` and `bench dns`: how fast a captured pod is, beside no mesh and beside what is replaced,
//! and how fast its DNS queries are answered.
//!
//! ```text
//! capture.rs      the traffic of a pod
//!   road.rs         what lies between two pods, and the stage it is set on
//!   workload.rs     what is done over a road
//!   comparison.rs   every workload over every road, in turn
//!   uncaptured.rs guard.rs enrolment.rs memory.rs fairness.rs sustained.rs     the single questions
//! dns.rs          its queries
//!   stage.rs        who asks whom     question.rs     what is asked     headless.rs     a very large service
//! report.rs       tables, targets, profiles                 results.rs      the file that they are written to
//! bin/load        clients and servers        bin/redirect    what is replaced
//! ```
#![expect(clippy::print_stderr, reason = "a command line tool tells what it does")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod capture;
mod comparison;
mod dns;
mod enrolment;
mod fairness;
mod guard;
mod markdown;
mod memory;
mod middle;
mod profile;
mod programs;
mod report;
mod results;
mod road;
mod sustained;
mod uncaptured;
mod usage;
mod workload;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures capture against no mesh, and against REDIRECT
    Capture(capture::Args),
    /// Measures the answers to a captured pod's DNS queries against dnsmasq
    Dns(dns::Args),
}

/// A line that tells how far we are.
#[macro_export]
macro_rules! progress {
    ($($what:tt)*) => { eprintln!("    {}", format_args!($($what)*)) };
}

fn main() -> ExitCode {
    let done = match &Args::parse().command {
        Command::Capture(args) => capture::run(args),
        Command::Dns(args) => dns::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
