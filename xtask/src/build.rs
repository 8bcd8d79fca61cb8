//! `cargo xtask build`: eBPF programs first, for the binary embeds them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

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

/// The program of standing clusters, and those that run in their pods.
pub(crate) fn clusters(workspace: &Workspace) -> Result<()> {
    shell::step("build the clusters");
    shell::run(workspace.cargo().args(["build", "--locked", "--package", "harness", "--package", "cluster"]))
}

/// The lab tests as one program, to run elsewhere.
pub(crate) fn lab_tests(workspace: &Workspace) -> Result<PathBuf> {
    shell::step("build the lab tests");
    let mut command = workspace.cargo();
    command.args(["test", "--locked", "--package", "harness", "--test", "lab", "--no-run"]);
    let messages = shell::answer(command.arg("--message-format=json-render-diagnostics"))?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_ours = |message: &Value| message["target"]["name"] == "lab" && message["profile"]["test"] == true;
    let program =
        messages.filter(is_ours).find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.context("cargo does not say where it left the lab tests")
}

/// The first process of a virtual machine.
pub(crate) fn init(workspace: &Workspace) -> Result<PathBuf> {
    shell::run(workspace.cargo().args(["build", "--locked", "--package", "vm"]))?;
    Ok(workspace.lab_program("init"))
}

fn build(workspace: &Workspace, more: &[&str]) -> Result<()> {
    ebpf::build(workspace)?;
    shell::step("build millstream");
    shell::run(workspace.cargo().args(["build", "--locked", "--package", "cli"]).args(more))
}
