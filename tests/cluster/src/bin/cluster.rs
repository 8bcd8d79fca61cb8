//! `cargo xtask cluster`: a cluster that stays until it is taken down.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool tells what it does")]

use std::{
    process::{Command as Program, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use cluster::{
    Cluster, IMAGE,
    standing::{self, Standing},
};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Leave a cluster standing
    Up,
    /// Take it down
    Down,
    /// Print what a shell needs to go on by itself
    Env,
    /// Run `kubectl`
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run a command on a node
    Exec {
        node: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Up => up(),
        Command::Down => down(),
        Command::Env => env(),
        Command::Kubectl { args } => found().and_then(|cluster| run(cluster.kubectl()?.args(args))),
        Command::Exec { node, command } => {
            found().and_then(|cluster| run(cluster.on_node(&node)?.args(command)))
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn up() -> Result<ExitCode> {
    if let Some(Standing { id, .. }) = standing::all()?.first() {
        bail!("the cluster {id} stands already; `cargo xtask cluster down` takes it down");
    }
    println!("==> start a control plane and two nodes");
    let begin = Instant::now();
    let cluster = Cluster::standing("play")?;
    println!(
        "The cluster {} stands, after {} s. Pods can run the image {IMAGE}.",
        cluster.id(),
        begin.elapsed().as_secs()
    );
    for node in cluster.nodes() {
        println!("  node {} at {}", node.name(), node.addresses().v4);
    }
    println!(
        "Try:\n  \
         cargo xtask cluster kubectl get nodes,pods --all-namespaces\n  \
         cargo xtask cluster exec n1 -- ip address\n  \
         cargo xtask cluster env      # for a shell: `kubectl`, `n1` and `n2`\n  \
         cargo xtask cluster down"
    );
    cluster.leave()?;
    Ok(ExitCode::SUCCESS)
}

fn down() -> Result<ExitCode> {
    for cluster in standing::all()? {
        cluster.down()?;
        println!("the cluster {} is gone", cluster.id);
    }
    Ok(ExitCode::SUCCESS)
}

fn env() -> Result<ExitCode> {
    print!("{}", found()?.environment()?);
    Ok(ExitCode::SUCCESS)
}

fn found() -> Result<Standing> {
    standing::all()?.into_iter().next().context("no cluster stands; `cargo xtask cluster up` makes one")
}

/// On the terminal of the caller; the exit code is the command's own.
fn run(command: &mut Program) -> Result<ExitCode> {
    let status = command.status().context("cannot run nsenter")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
