//! `cargo xtask demo`: the product at work.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{
    build,
    place::{Place, PlaceArgs},
    setup, shell, vm,
    workspace::Workspace,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave everything standing at the end, to explore
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let Args { keep, place } = args;
    setup::run()?;
    match place.choose()? {
        Place::Here => here(workspace, *keep),
        Place::Vm => {
            ensure!(!keep, "nothing can be left standing in a virtual machine: leave --keep out");
            vm::demo(workspace)
        }
    }
}

fn here(workspace: &Workspace, keep: bool) -> Result<()> {
    build::release_with_lab(workspace)?;
    let mut demo = Command::new(workspace.lab_program("demo"));
    demo.env("MILLSTREAM_BIN", workspace.millstream());
    if keep {
        demo.arg("--keep");
    }
    shell::run(&mut demo)
}
