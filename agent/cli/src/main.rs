//! The `millstream` command: the agent itself, and what looks inside it.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

mod agent;
mod args;
mod ask;
mod check;
mod cleanup;
mod connections;
mod controller;
mod dns;
mod install;
mod log;
mod maps;
mod output;
mod pods;
mod programs;
mod services;
mod status;
mod supervise;
mod wait;
mod why;

use std::process::ExitCode;

use anyhow::Result;
use app::run_dir::RunDir;
use clap::{CommandFactory, Parser};

use crate::args::{Args, Command, DnsQuestion};

/// How a command ended; the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// 0
    Fine,
    /// 1: there is an answer, and it is bad news.
    Bad,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::from(1),
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: Args) -> Result<Outcome> {
    let Args { run_dir, output, command } = args;
    let run_dir = RunDir::new(&run_dir);
    match command {
        Command::Agent(options) => agent::run(options, run_dir),
        Command::Controller(options) => controller::run(options),
        Command::Supervise { command } => supervise::run(&command),
        Command::Status => status::run(&run_dir, output),
        Command::Pods => pods::run(&run_dir, output),
        Command::Services => services::run(&run_dir, output),
        Command::Connections(options) => connections::run(&run_dir, output, &options),
        Command::Dns { question: DnsQuestion::Allocations } => dns::allocations(&run_dir, output),
        Command::Maps { map } => maps::run(&run_dir, output, map),
        Command::Why { pod, destination } => why::run(&run_dir, output, &pod, &destination),
        Command::Check => check::run(&run_dir, output),
        Command::Programs => programs::run(&run_dir, output),
        Command::Log { filter } => log::run(&run_dir, filter),
        Command::Wait { condition, timeout } => wait::run(&run_dir, output, &condition, timeout),
        Command::Cleanup(options) => cleanup::run(&run_dir, output, &options),
        Command::Install(options) => install::install(&options),
        Command::Uninstall(options) => install::uninstall(options),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "millstream", &mut std::io::stdout());
            Ok(Outcome::Fine)
        }
    }
}

/// For the commands that look into namespaces themselves.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
