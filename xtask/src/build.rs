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
    if release { self::release(workspace) } else { build(workspace, &[]) }
}

/// The programs of the product and those of the lab: what demo and standing lab run.
pub(crate) fn release_with_lab(workspace: &Workspace) -> Result<()> {
    build(workspace, &["--release", "--package", "harness"])
}

/// What the lab tests run; the programs of the lab they build for themselves.
pub(crate) fn release(workspace: &Workspace) -> Result<()> {
    build(workspace, &["--release"])
}

fn build(workspace: &Workspace, more: &[&str]) -> Result<()> {
    ebpf::build(workspace)?;
    shell::step("build millstream");
    shell::run(workspace.cargo().args(["build", "--locked", "--package", "cli"]).args(more))
}
