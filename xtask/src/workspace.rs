//! Where things are.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// `cargo metadata --no-deps`: our own packages and what their manifests ask for.
    pub(crate) packages: Vec<Value>,
}

pub(crate) struct Metadata {
    pub(crate) target: PathBuf,
    pub(crate) packages: Vec<Value>,
}

// === impl Workspace ===

impl Workspace {
    pub(crate) fn locate() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
        let Metadata { target, packages } = metadata(root)?;
        Ok(Self { root: root.to_owned(), target, packages })
    }

    /// A cargo command in the workspace that embeds the eBPF objects of [`Self::bpf_dir`].
    pub(crate) fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        // The build script looks in target/bpf by itself. Naming that place all the same would make `cargo
        // build` and `cargo xtask build` rebuild after each other.
        if self.target != self.root.join("target") {
            command.env("MILLSTREAM_BPF_DIR", self.bpf_dir());
        }
        command
    }

    /// Where the eBPF objects are left for the build script of `capture`.
    pub(crate) fn bpf_dir(&self) -> PathBuf {
        self.target.join("bpf")
    }

    pub(crate) fn millstream(&self) -> PathBuf {
        self.target.join("release/millstream")
    }

    /// A program of the lab.
    pub(crate) fn lab_program(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }
}

/// What cargo knows of the workspace at `dir`, without its dependencies.
pub(crate) fn metadata(dir: &Path) -> Result<Metadata> {
    let mut command = cargo();
    let output = command
        .current_dir(dir)
        .args(["metadata", "--no-deps", "--format-version=1"])
        .output()
        .context("cannot run `cargo metadata`")?;
    if !output.status.success() {
        bail!("`cargo metadata` in {}: {}", dir.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    let answer: Value = serde_json::from_slice(&output.stdout).context("`cargo metadata`")?;
    let target = answer["target_directory"].as_str().context("no target_directory")?.into();
    let packages = answer["packages"].as_array().context("no packages")?.clone();
    Ok(Metadata { target, packages })
}

/// The Rust files in `dir` and below.
pub(crate) fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Where `cargo install` puts programs.
pub(crate) fn cargo_bin() -> Result<PathBuf> {
    let home = match (env::var_os("CARGO_HOME"), env::var_os("HOME")) {
        (Some(home), _) => PathBuf::from(home),
        (None, Some(home)) => Path::new(&home).join(".cargo"),
        (None, None) => bail!("neither CARGO_HOME nor HOME is set"),
    };
    Ok(home.join("bin"))
}

/// What takes long to get and is of no one checkout.
pub(crate) fn cache() -> Result<PathBuf> {
    let dir = match (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
        (Some(dir), _) => PathBuf::from(dir),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => bail!("neither XDG_CACHE_HOME nor HOME is set"),
    };
    Ok(dir.join("millstream"))
}

pub(crate) fn is_root() -> bool {
    shell::output(Command::new("id").arg("-u")).as_deref() == Some("0")
}
