//! `cargo xtask lab`: a lab that stays until it is taken down.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool tells what it does")]

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use harness::{AgentOptions, Lab, shop, shop::Shop, standing};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Leave a lab standing
    Up,
    /// Take it down
    Down,
    /// Run a command in a pod or on a node
    Exec {
        place: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Up => up(),
        Command::Down => down(),
        Command::Exec { place, command } => exec(&place, &command),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn up() -> Result<ExitCode> {
    if let Some(id) = standing::all(standing::LAB).first() {
        bail!("the lab {id} stands already; `cargo xtask lab down` takes it down");
    }
    let lab = Lab::standing("play")?;
    lab.raze_on_signal();
    let (a, b) = (lab.node("a")?, lab.node("b")?);
    let shop = Shop::open(&lab, &a, &b)?;
    lab.label_namespace(shop::NAMESPACE, shop::LABEL, Some("ambient"))?;
    let agents = [a.agent(AgentOptions::default())?, b.agent(AgentOptions::default())?];
    for pod in shop.pods() {
        let [on_a, on_b] = &agents;
        let agent = if pod.node().name() == a.name() { on_a } else { on_b };
        agent.wait_captured(pod)?;
    }
    println!("{}", standing::tour(&lab, &shop));
    agents.into_iter().for_each(harness::Agent::leave);
    shop.leave();
    lab.leave()?;
    Ok(ExitCode::SUCCESS)
}

fn down() -> Result<ExitCode> {
    for id in standing::all(standing::LAB) {
        standing::down(&id)?;
        println!("the lab {id} is gone");
    }
    Ok(ExitCode::SUCCESS)
}

fn exec(place: &str, command: &[String]) -> Result<ExitCode> {
    let status = standing::exec(standing::LAB, place, command)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
