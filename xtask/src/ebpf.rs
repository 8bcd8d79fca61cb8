//! The eBPF programs are compiled by a toolchain of their own, for `bpfel-unknown-none`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    shell,
    workspace::{Workspace, cargo, cargo_bin, metadata},
};

/// Its LLVM must be able to read what the rustc of the toolchain writes: 22 for Debian's rustc-web 1.96.
pub(crate) const LINKER_VERSION: &str = "0.13.0";

const TARGET: &str = "bpfel-unknown-none";

/// A compiler that has, or can build, `core` for the eBPF target.
#[derive(Clone, Copy)]
pub(crate) enum Toolchain {
    /// Debian's rustc-web, with `core` ready made in libstd-rust-web-dev-bpf.
    Debian,
    /// A rustup nightly with rust-src: `core` is built along.
    Nightly,
}

// === impl Toolchain ===

impl Toolchain {
    const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

    pub(crate) fn find() -> Option<Self> {
        let holds = |sysroot: String, path: &str| Path::new(&sysroot).join(path).exists();
        let debian = shell::output(Command::new(Self::DEBIAN_RUSTC).args(["--print", "sysroot"]));
        if debian.is_some_and(|sysroot| holds(sysroot, "lib/rustlib/bpfel-unknown-none")) {
            return Some(Self::Debian);
        }
        let nightly = shell::output(Command::new("rustc").args(["+nightly", "--print", "sysroot"]));
        nightly
            .is_some_and(|sysroot| holds(sysroot, "lib/rustlib/src/rust/library/core"))
            .then_some(Self::Nightly)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Debian => "Debian's rustc-web",
            Self::Nightly => "rustup's nightly",
        }
    }

    fn cargo(self) -> Command {
        match self {
            Self::Debian => {
                let mut command = cargo();
                // The everyday cargo with another compiler, whose `core` needs features that only a nightly,
                // or a stable told to be one, allows.
                command.env("RUSTC", Self::DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                command.arg("build");
                command
            }
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo", "build", "-Zbuild-std=core"]);
                command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
                command
            }
        }
    }
}

/// `bpf-linker`, where there is one that runs.
pub(crate) fn linker() -> Option<PathBuf> {
    let installed = cargo_bin().ok().map(|dir| dir.join("bpf-linker"));
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).map(|dir| dir.join("bpf-linker"));
    installed.into_iter().chain(in_path).find(|linker| {
        // It is linked to a libLLVM that may have gone since.
        linker.exists() && shell::output(Command::new(linker).arg("--version")).is_some()
    })
}

/// Compiles ebpf/programs and leaves an object per binary, `NAME.o`, in the folder that `capture` embeds
/// them from.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::find()
        .context("no compiler for eBPF programs: `cargo xtask setup` installs it or says how")?;
    let linker = linker().context("no bpf-linker: `cargo xtask setup` installs it or says how")?;
    shell::step(&format!("build the eBPF programs with {}", toolchain.name()));

    let programs = workspace.root.join("ebpf/programs");
    let built = workspace.target.join("bpf-build");
    let linker = format!("-Clinker={}", linker.display());
    let flags = [linker.as_str(), "-Clink-arg=--btf", "-Cdebuginfo=2", "-Cpanic=abort"];
    shell::run(
        toolchain
            .cargo()
            .current_dir(&programs)
            .args(["--release", "--locked", "--target", TARGET, "--target-dir"])
            .arg(&built)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            // Meant for the everyday compiler, and for programs of this machine.
            .env_remove("RUSTFLAGS")
            .env_remove("RUSTC_WRAPPER"),
    )?;
    for name in binaries(&programs)? {
        let from = built.join(TARGET).join("release").join(&name);
        install(&from, &workspace.bpf_dir().join(format!("{name}.o")))?;
    }
    Ok(())
}

fn binaries(programs: &Path) -> Result<Vec<String>> {
    let packages = metadata(programs)?.packages;
    let targets = packages.iter().flat_map(|package| package["targets"].as_array()).flatten();
    Ok(targets.filter_map(|target| target["name"].as_str()).map(str::to_owned).collect())
}

/// Copies what changed; an unchanged object keeps its time, so that nothing is rebuilt because of it.
fn install(from: &Path, to: &Path) -> Result<()> {
    let object = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if object.is_empty() {
        bail!("{} is empty", from.display());
    }
    if fs::read(to).is_ok_and(|old| old == object) {
        return Ok(());
    }
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    fs::write(to, object).with_context(|| format!("cannot write {}", to.display()))
}
