//! `cargo xtask build`: eBPF programs first, for the binary embeds them.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{ebpf, image, setup, shell, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Optimised: target/release/millstream instead of target/debug/millstream
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::run()?;
    let Args { release } = *args;
    if release {
        return self::release(workspace);
    }
    ebpf::build(workspace)?;
    shell::step("build millstream");
    shell::run(workspace.cargo().args(["build", "--locked", "--package", "cli", "--package", "cni"]))
}

/// The product as it ships: what is tested and measured is what the image holds.
pub(crate) fn release(workspace: &Workspace) -> Result<()> {
    release_to_pack(workspace).map(drop)
}

/// The same, and the image of it; returns where that is.
pub(crate) fn release_with_image(workspace: &Workspace) -> Result<PathBuf> {
    image::pack(workspace, &release_to_pack(workspace)?, false)
}

/// Returns the folder of the programs that the image takes.
fn release_to_pack(workspace: &Workspace) -> Result<PathBuf> {
    let built = image::build(workspace, false)?;
    let folder = workspace.target.join("release");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (_, name) in image::PROGRAMS {
        let path = folder.join(name);
        if path.exists() {
            // One that runs cannot be written.
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        fs::copy(built.join(name), &path).with_context(|| format!("cannot copy to {}", path.display()))?;
    }
    Ok(built)
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
