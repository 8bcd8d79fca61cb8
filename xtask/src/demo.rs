//! `cargo xtask demo`: the product at work.

use std::process::Command;

use anyhow::Result;

use crate::{build, setup, shell, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave everything standing at the end, to explore
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let Args { keep } = *args;
    setup::run()?;
    build::release_with_lab(workspace)?;
    let mut demo = Command::new(workspace.lab_program("demo"));
    demo.env("MILLSTREAM_BIN", workspace.millstream());
    if keep {
        demo.arg("--keep");
    }
    shell::run(&mut demo)
}
