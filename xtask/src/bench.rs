//! `cargo xtask bench`: how fast it is.

use std::process::Command;

use anyhow::Result;
use clap::Subcommand;

use crate::{build, setup, shell, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Subcommand)]
enum BenchCommand {
    /// Captured pods beside no mesh and beside REDIRECT; a whole run writes its chapter of
    /// tests/bench/RESULTS.md. Wants a machine that does nothing else
    Capture {
        /// What the bench itself takes: `--rounds N`, `--seconds S`, `--only NAME`, `--help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// The answers to a captured pod's DNS queries beside those of dnsmasq; a whole run writes its chapter of
    /// tests/bench/RESULTS.md. Wants a machine that does nothing else
    Dns {
        /// What the bench itself takes: `--rounds N`, `--seconds S`, `--only NAME`, `--help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// What 10 000 services with 100 000 endpoints cost the agent, and how soon it follows a change of one
    Scale {
        /// What the bench itself takes: `--services N`, `--endpoints N`, `--help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// What becomes of connections and probes while a real cluster's mesh is labelled, rolled, killed and
    /// uninstalled
    Disruption {
        /// What the bench itself takes: a scenario, `--seconds S`, `--rounds N`, `--help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

/// What only `bench capture` runs, by the Debian package that has it.
const PROGRAMS: [(&str, &str); 4] =
    [("wrk", "wrk"), ("nginx", "nginx-light"), ("nft", "nftables"), ("perf", "linux-perf")];

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::run()?;
    match &args.command {
        BenchCommand::Capture { options } => {
            setup::need(&PROGRAMS)?;
            on_node(workspace, "capture", options)
        }
        BenchCommand::Dns { options } => on_node(workspace, "dns", options),
        BenchCommand::Disruption { options } => on_cluster(workspace, "disruption", options),
        BenchCommand::Scale { options } => on_cluster(workspace, "scale", options),
    }
}

fn on_cluster(workspace: &Workspace, program: &str, options: &[String]) -> Result<()> {
    let parts = setup::kubernetes::run(workspace)?;
    let image = build::release_with_image(workspace)?;
    build::clusters(workspace)?;
    shell::step("measure");
    let mut bench = Command::new(workspace.lab_program(program));
    bench.env(setup::kubernetes::PROGRAMS, parts).env("MILLSTREAM_BIN", workspace.millstream());
    shell::run(bench.args(options).env("MILLSTREAM_IMAGE", image))
}

/// A command of package bench: in a lab of its own.
fn on_node(workspace: &Workspace, command: &str, options: &[String]) -> Result<()> {
    build::release(workspace)?;
    shell::step("build the bench");
    shell::run(workspace.cargo().args([
        "build",
        "--locked",
        "--release",
        "--package",
        "bench",
        "--package",
        "harness",
    ]))?;
    shell::step("measure");
    let mut bench = Command::new(workspace.target.join("release/bench"));
    shell::run(bench.arg(command).args(options).env("MILLSTREAM_BIN", workspace.millstream()))
}
