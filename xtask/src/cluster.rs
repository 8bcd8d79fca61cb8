//! `cargo xtask cluster`: a standing Kubernetes cluster to play with.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::Subcommand;

use crate::{build, setup, shell, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Subcommand)]
enum ClusterCommand {
    /// Build, then leave a cluster of two nodes standing, and say what can be tried
    Up,
    /// Take the standing cluster down, with every trace of it
    Down,
    /// Print what a shell needs to go on by itself: `eval "$(cargo xtask cluster env)"`
    Env,
    /// Run `kubectl` on it: `cargo xtask cluster kubectl get nodes`
    #[command(disable_help_flag = true)]
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run a command on a node: `cargo xtask cluster exec n1 -- ip address`
    Exec {
        /// `n1` or `n2`
        node: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let program = workspace.lab_program("cluster");
    let mut cluster = Command::new(&program);
    if matches!(args.command, ClusterCommand::Up) {
        setup::run()?;
        cluster.env(setup::kubernetes::PROGRAMS, setup::kubernetes::run(workspace)?);
        build::clusters(workspace)?;
        return shell::run(cluster.arg("up"));
    }
    ensure!(program.exists(), "no cluster was ever built here; `cargo xtask cluster up` builds one");
    cluster.env(setup::kubernetes::PROGRAMS, setup::kubernetes::folder(workspace)?);
    match &args.command {
        ClusterCommand::Up => {}
        ClusterCommand::Down => {
            cluster.arg("down");
        }
        ClusterCommand::Env => {
            cluster.arg("env");
        }
        ClusterCommand::Kubectl { args } => {
            cluster.arg("kubectl").arg("--").args(args);
        }
        ClusterCommand::Exec { node, command } => {
            cluster.arg("exec").arg(node).arg("--").args(command);
        }
    }
    // The exit code is the command's own, and so is everything printed.
    let status = cluster.status()?;
    std::process::exit(status.code().unwrap_or(1));
}
