//! `cargo xtask bench disruption`: what becomes of connections and probes while something is done to the mesh.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench is what it prints")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::{scenario::Scenario, stage::Stage, table::row};

mod agents;
mod delays;
mod scenario;
mod stage;
mod table;

#[derive(Parser)]
struct Args {
    /// One of them; without it, all in turn on one cluster
    #[arg(value_enum)]
    scenario: Option<Scenario>,
    /// How long connections are watched after each disturbance
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    #[arg(long, default_value_t = 1)]
    rounds: u32,
}

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
    println!(
        "{} long connections each, an echo every 50 ms, and {} new ones a second, to a server on the same node and to one \
         on the other. Broken and failed, of all that there were; {} that failed are a second without service:",
        stage::LONG,
        stage::FRESH,
        stage::FRESH
    );
    let scenarios = args.scenario.map_or_else(|| Scenario::value_variants().to_vec(), |one| vec![one]);
    let mut stage = Stage::build()?;
    table::header();
    for _ in 0..args.rounds {
        for &scenario in &scenarios {
            row(scenario, &stage.measure(scenario, args.seconds)?);
        }
    }
    if args.scenario.is_none() {
        stage.install()?;
        table::delays(stage.installed, &delays::measure(&stage)?);
    }
    stage.install()?;
    println!("Idle, an agent has {:.1} MB of memory (RSS) on n1.", stage.agent_megabytes()?);
    Ok(())
}
