//! `cargo xtask lab`: a standing lab to play with.

use std::process::Command;

use anyhow::{Result, ensure};
use clap::Subcommand;

use crate::{build, setup, shell, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Subcommand)]
enum LabCommand {
    /// Build, then leave a lab of two nodes with their agents standing, and say what can be tried
    Up,
    /// Take the standing lab down, with every trace of it
    Down,
    /// Run a command in a pod or on a node: `cargo xtask lab exec client -- curl http://web.shop`
    Exec {
        /// Name of a pod (`client`) or of a node (`a`)
        place: String,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let program = workspace.lab_program("lab");
    if !matches!(args.command, LabCommand::Up) {
        ensure!(program.exists(), "no lab was ever built here; `cargo xtask lab up` builds one");
    }
    let mut lab = Command::new(program);
    lab.env("MILLSTREAM_BIN", workspace.millstream());
    match &args.command {
        LabCommand::Up => {
            setup::run()?;
            build::release_with_lab(workspace)?;
            lab.arg("up");
        }
        LabCommand::Down => {
            lab.arg("down");
        }
        LabCommand::Exec { place, command } => {
            // The exit code is the command's own, and so is everything printed.
            let status = lab.arg("exec").arg(place).arg("--").args(command).status()?;
            std::process::exit(status.code().unwrap_or(1));
        }
    }
    shell::run(&mut lab)
}
