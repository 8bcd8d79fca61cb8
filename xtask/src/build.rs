//! `cargo xtask build`: eBPF programs first, for the binary embeds them.

use anyhow::Result;

use crate::{ebpf, setup, shell, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Optimised: target/release/millstream instead of target/debug/millstream
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::run()?;
    let Args { release } = *args;
    build(workspace, if release { &["--release"] } else { &[] })
}

/// The product as it ships.
pub(crate) fn release(workspace: &Workspace) -> Result<()> {
    build(workspace, &["--release"])
}

/// The product, and the programs of the lab, which nobody waits for: not optimised, and apart from the product, so
/// that its dependencies are not built again with their features.
pub(crate) fn release_with_lab(workspace: &Workspace) -> Result<()> {
    release(workspace)?;
    shell::step("build the lab");
    shell::run(workspace.cargo().args(["build", "--locked", "--package", "harness"]))
}

fn build(workspace: &Workspace, more: &[&str]) -> Result<()> {
    ebpf::build(workspace)?;
    shell::step("build millstream");
    shell::run(workspace.cargo().args(["build", "--locked", "--package", "cli"]).args(more))
}
