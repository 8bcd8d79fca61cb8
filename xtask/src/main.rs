//! `cargo xtask`: the one door to everything a developer does here. One module per command.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool tells what it does")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

mod bench;
mod build;
mod chart;
mod cluster;
mod demo;
mod ebpf;
mod image;
mod lab;
mod lint;
mod place;
mod setup;
mod shell;
mod test;
mod vm;
mod workspace;

/// Everything a developer of Millstream does, behind one command.
///
/// A first visit is two commands: `cargo xtask demo` shows the product at work, `cargo xtask test` proves it. They load
/// eBPF programs and make network namespaces: as root on this machine or, where it does not let them, in a small virtual
/// machine.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing to build and run everything (Debian, as root); elsewhere say what is missing
    Setup(setup::Args),
    /// Build the eBPF programs, then the `millstream` binary with the programs inside
    Build(build::Args),
    /// Put the product into an image for containers: target/image/millstream.tar
    Image(image::Args),
    /// Render the plain manifests, daemonset/millstream.yaml, from the chart
    Chart(chart::Args),
    /// Show the product at work: two services in pods of a lab, before and after the label
    Demo(demo::Args),
    /// Run the tests: of pure parts, of the agent in a lab, and of the lab on other kernels
    Test(test::Args),
    /// Everything that needs no run to be judged: format, clippy, sizes of files, arrows between crates
    Lint,
    /// A standing lab to play with: two nodes, five pods, three services
    Lab(lab::Args),
    /// A standing Kubernetes cluster to play with: a control plane and two nodes
    Cluster(cluster::Args),
    /// Another kernel, in a small virtual machine: run a command there
    Vm(vm::Args),
    /// How fast it is, beside no mesh and beside what it replaces
    Bench(bench::Args),
}

fn main() -> ExitCode {
    match run(&Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<()> {
    let workspace = Workspace::locate()?;
    match command {
        Command::Setup(args) => setup::command(&workspace, args),
        Command::Build(args) => build::run(&workspace, args),
        Command::Image(args) => image::run(&workspace, args),
        Command::Chart(args) => chart::run(&workspace, args),
        Command::Demo(args) => demo::run(&workspace, args),
        Command::Test(args) => test::run(&workspace, args),
        Command::Lint => lint::run(&workspace),
        Command::Lab(args) => lab::run(&workspace, args),
        Command::Cluster(args) => cluster::run(&workspace, args),
        Command::Vm(args) => vm::run(&workspace, args),
        Command::Bench(args) => bench::run(&workspace, args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_makes_sense() {
        super::Args::command().debug_assert();
    }
}
