//! `cargo xtask demo`: the product at work.

use std::process::Command;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;

use crate::{
    build,
    place::{Place, PlaceArgs},
    setup, shell, vm,
    workspace::Workspace,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum, default_value_t = Scene::Lab)]
    scene: Scene,
    /// Leave everything standing at the end, to explore
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scene {
    /// A node and four pods out of network namespaces, and a folder of manifests: seconds
    Lab,
    /// Names: ServiceEntries without addresses, a headless service, a real resolver: seconds
    Dns,
    /// A real cluster of two nodes: a minute, once its parts are built
    Kubernetes,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let Args { scene, keep, place } = args;
    setup::run()?;
    match (place.choose()?, scene) {
        (Place::Here, Scene::Lab) => here(workspace, "demo", *keep),
        (Place::Here, Scene::Dns) => here(workspace, "demo-dns", *keep),
        (Place::Here, Scene::Kubernetes) => kubernetes(workspace, *keep),
        (Place::Vm, Scene::Kubernetes) => bail!("a whole cluster is too large for the virtual machine"),
        (Place::Vm, Scene::Dns) => {
            bail!("this scene is for a machine that may load eBPF programs itself; try `cargo xtask demo`")
        }
        (Place::Vm, Scene::Lab) => {
            ensure!(!keep, "nothing can be left standing in a virtual machine: leave --keep out");
            vm::demo(workspace)
        }
    }
}

fn here(workspace: &Workspace, program: &str, keep: bool) -> Result<()> {
    build::release_with_lab(workspace)?;
    play(workspace, program, keep, |demo| demo)
}

fn kubernetes(workspace: &Workspace, keep: bool) -> Result<()> {
    let parts = setup::kubernetes::run(workspace)?;
    let image = build::release_with_image(workspace)?;
    build::clusters(workspace)?;
    play(workspace, "demo-kubernetes", keep, |demo| {
        demo.env(setup::kubernetes::PROGRAMS, parts).env("MILLSTREAM_IMAGE", image)
    })
}

fn play(
    workspace: &Workspace,
    program: &str,
    keep: bool,
    more: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<()> {
    let mut demo = Command::new(workspace.lab_program(program));
    demo.env("MILLSTREAM_BIN", workspace.millstream());
    if keep {
        demo.arg("--keep");
    }
    shell::run(more(&mut demo))
}
