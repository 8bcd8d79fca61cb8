//! `cargo xtask image`: the product as an image for containers. It holds its programs and nothing else.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use oci::{EXECUTABLE, Image, Layer};
use serde_json::json;

use crate::{
    ebpf, setup, shell,
    workspace::{Workspace, cargo_bin},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Not optimised: builds in a fraction of the time, for tests
    #[arg(long)]
    debug: bool,
}

/// What is in it, all in one folder, by the package that builds it. In the order of their names.
pub(crate) const PROGRAMS: [(&str, &str); 2] = [("cli", "millstream"), ("cni", "millstream-cni")];
const FOLDER: &str = "usr/local/bin";

pub(crate) const NAME: &str = concat!("localhost/millstream:", env!("CARGO_PKG_VERSION"));
const ARCHIVE: &str = "target/image/millstream.tar";
/// Each node fetches it, and keeps it.
const LARGEST: usize = 25_000_000;

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::run()?;
    pack(workspace, &build(workspace, args.debug)?, args.debug).map(drop)
}

/// Makes the archive of the programs in `built`; returns where it is.
pub(crate) fn pack(workspace: &Workspace, built: &Path, debug: bool) -> Result<PathBuf> {
    let mut layer = Layer::default();
    for folder in ["usr", "usr/local", FOLDER] {
        layer.folder(folder, EXECUTABLE)?;
    }
    let mut total = 0;
    for (_, name) in PROGRAMS {
        let path = built.join(name);
        ensure_static(&path)?;
        let program = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        println!("    /{FOLDER}/{name}: {}", megabytes(program.len()));
        total += program.len();
        layer.file(&format!("{FOLDER}/{name}"), EXECUTABLE, &program)?;
    }
    ensure!(
        debug || total <= LARGEST,
        "the programs have {}, at most {} are meant to be: what has made them grow?",
        megabytes(total),
        megabytes(LARGEST)
    );
    // In the repository, wherever cargo builds: others know the archive by this name.
    let archive = workspace.root.join(ARCHIVE);
    let folder = archive.parent().context("the archive is in no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let digest = image().write(layer, &archive)?;
    println!("==> {NAME} is in {} ({}, {digest})", archive.display(), megabytes(total));
    println!("    # ctr --namespace k8s.io images import {ARCHIVE}");
    Ok(archive)
}

fn image() -> Image<'static> {
    let labels = json!({
        "org.opencontainers.image.title": "millstream",
        "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
        "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
    });
    Image {
        name: NAME,
        config: json!({
            "Env": [format!("PATH=/{FOLDER}")],
            "Entrypoint": ["millstream"],
            "Labels": labels,
        }),
        annotations: labels,
    }
}

/// Builds programs that need no library of a distribution, stripped; returns the folder they are in.
pub(crate) fn build(workspace: &Workspace, debug: bool) -> Result<PathBuf> {
    ebpf::build(workspace)?;
    shell::step("build the programs of the image");
    // Flags are for the programs alone, and not for what builds them, only where a target is named.
    let target = host()?;
    let cargo_home = cargo_bin()?;
    let cargo_home = cargo_home.parent().context("cargo has no folder")?;
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        "-Cstrip=symbols".to_owned(),
        // A program that may be loaded anywhere has tens of thousands of addresses to put right; this way a bit each.
        "-Clink-arg=-Wl,-z,pack-relative-relocs".to_owned(),
        // So that it does not matter where it was built.
        format!("--remap-path-prefix={}=/millstream", workspace.root.display()),
        format!("--remap-path-prefix={}=/cargo", cargo_home.display()),
    ];
    let (profile, folder) = if debug { ("DEV", "debug") } else { ("RELEASE", "release") };
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--locked", "--target", &target]);
    for (package, _) in PROGRAMS {
        cargo.args(["--package", package]);
    }
    if !debug {
        cargo.arg("--release");
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env_remove("RUSTFLAGS");
    cargo.env(format!("CARGO_PROFILE_{profile}_DEBUG"), "none");
    shell::run(&mut cargo)?;
    Ok(workspace.target.join(&target).join(folder))
}

/// The target that cargo builds for where none is named.
fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = shell::output(Command::new(rustc).arg("-vV")).context("rustc does not say which it is")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say for which machine it compiles")
}

/// In the image is nothing that would load libraries.
fn ensure_static(program: &Path) -> Result<()> {
    let needed = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let needed = String::from_utf8_lossy(&needed.stdout);
    ensure!(!needed.contains("=>"), "{} needs libraries:\n{needed}", program.display());
    Ok(())
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1_000_000.0)
}
