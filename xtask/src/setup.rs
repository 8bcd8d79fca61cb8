//! `cargo xtask setup`: installs what is missing, or says what is.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    ebpf::{self, LINKER_VERSION, Toolchain},
    shell,
    workspace::{Workspace, cache, cargo, is_root},
};

mod go;
pub(crate) mod kubernetes;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum)]
    what: Option<What>,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// The parts of a Kubernetes cluster, too: built from source, once, in about eight minutes
    Kubernetes,
}

/// Debian's names; all in bookworm with its security updates.
const COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// What bpf-linker is built with, and linked to: the LLVM of that compiler.
const LLVM: &str = "llvm-22-dev";
const LLVM_BIN: &str = "/usr/lib/llvm-22/bin";
const BPFFS: &str = "/sys/fs/bpf";

/// What has to be there. Everything else comes with cargo.
struct Missing {
    compiler: bool,
    linker: bool,
    /// Programs that the demo and the tests run inside pods, by the package that has them.
    tools: Vec<&'static str>,
}

/// What is asked for by `cargo xtask setup`.
pub(crate) fn command(workspace: &Workspace, args: &Args) -> Result<()> {
    run()?;
    match args.what {
        None => Ok(()),
        Some(What::Kubernetes) => kubernetes::run(workspace).map(drop),
    }
}

pub(crate) fn run() -> Result<()> {
    let missing = Missing::look();
    if missing.any() {
        if !(is_root() && Path::new("/etc/debian_version").exists()) {
            bail!("{}", missing.advice());
        }
        missing.install()?;
    }
    let toolchain = Toolchain::find().map_or("none", Toolchain::name);
    println!("==> setup: everything is there (eBPF by {toolchain})");
    Ok(())
}

/// Sees to it that programs are there which only one command needs, by the package that has them.
pub(crate) fn need(programs: &[(&str, &'static str)]) -> Result<()> {
    let is_there = |program: &str| find_program(program).is_some();
    let missing: Vec<_> =
        programs.iter().filter(|(program, _)| !is_there(program)).map(|&(_, p)| p).collect();
    if missing.is_empty() || (is_root() && Path::new("/etc/debian_version").exists()) {
        return install_packages(&missing);
    }
    bail!("install the programs of these packages: {}", missing.join(" "))
}

/// Those of the administrator are not in everybody's PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
}

// === impl Missing ===

impl Missing {
    fn look() -> Self {
        let tools = [
            ("curl", "curl"),
            ("ip", "iproute2"),
            ("nft", "nftables"),
            ("dig", "bind9-dnsutils"),
            ("dnsmasq", "dnsmasq-base"),
            ("musl-gcc", "musl-tools"),
            ("go", "golang-go"),
        ];
        Self {
            compiler: Toolchain::find().is_none(),
            linker: ebpf::linker().is_none(),
            tools: tools
                .into_iter()
                .filter(|(tool, _)| find_program(tool).is_none())
                .map(|(_, package)| package)
                .collect(),
        }
    }

    fn any(&self) -> bool {
        let Self { compiler, linker, tools } = self;
        *compiler || *linker || !tools.is_empty()
    }

    fn install(&self) -> Result<()> {
        let mut packages = self.tools.clone();
        if self.compiler {
            packages.extend(COMPILER);
        }
        if self.linker {
            packages.push(LLVM);
        }
        install_packages(&packages)?;
        // The linker may have been there, and only its libLLVM not.
        if ebpf::linker().is_none() {
            install_linker()?;
        }
        let left = Self::look();
        if left.any() {
            bail!("after the installation something is still missing. {}", left.advice());
        }
        Ok(())
    }

    /// One paragraph that says exactly what to install.
    fn advice(&self) -> String {
        let mut parts = Vec::new();
        if self.compiler {
            parts.push(
                "a compiler for eBPF programs (Debian 12: `apt-get install rustc-web libstd-rust-web-dev-bpf`; \
                 elsewhere: `rustup toolchain install nightly --component rust-src`)"
                    .to_owned(),
            );
        }
        if self.linker {
            parts.push(format!(
                "bpf-linker (with the LLVM of that compiler, Debian's {LLVM}: `PATH={LLVM_BIN}:$PATH cargo \
                 install bpf-linker --version {LINKER_VERSION} --locked --no-default-features --features \
                 llvm-22`; with a nightly: `cargo install bpf-linker --version {LINKER_VERSION}`)"
            ));
        }
        if !self.tools.is_empty() {
            parts.push(format!("the programs of the packages {}", self.tools.join(" and ")));
        }
        format!(
            "`cargo xtask setup` can install by itself only on Debian as root. Missing: {}",
            parts.join("; ")
        )
    }
}

fn install_packages(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    shell::step(&format!("install from Debian: {}", packages.join(" ")));
    let install = || {
        let mut command = apt_get();
        // Nothing that is installed is worth less than what we want.
        command.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(packages);
        command
    };
    if has_lists() && shell::status(&mut install())?.success() {
        return Ok(());
    }
    // No package lists, or old ones that name what the mirror no longer has.
    update_packages()?;
    shell::run(&mut install())
}

/// Unpacks a package of Debian into a folder, without installing it.
fn unpack_package(package: &str, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("create {}", into.display()))?;
    let download = || {
        let mut command = apt_get();
        command.args(["download", package]).current_dir(into);
        command
    };
    if !(has_lists() && shell::status(&mut download())?.success()) {
        update_packages()?;
        shell::run(&mut download())?;
    }
    let files = fs::read_dir(into)?.collect::<Result<Vec<_>, _>>()?;
    let mut archives =
        files.iter().map(fs::DirEntry::path).filter(|path| path.extension().is_some_and(|e| e == "deb"));
    let archive = archives.next().with_context(|| format!("apt-get downloaded nothing for {package}"))?;
    shell::run(Command::new("dpkg").arg("--extract").arg(&archive).arg(into))?;
    fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))
}

/// Says where systemd-resolved is unpacked, for tests; or, on a system without apt, for us.
pub(crate) const SYSTEMD_RESOLVED: &str = "SYSTEMD_RESOLVED";

/// Where systemd-resolved is. It is not installed: that would make it this machine's resolver.
pub(crate) fn systemd_resolved() -> Result<PathBuf> {
    if let Some(unpacked) = env::var_os(SYSTEMD_RESOLVED) {
        return Ok(unpacked.into());
    }
    let root = cache()?.join("systemd-resolved");
    let packages = ["systemd-resolved", "libsystemd-shared", "libnss-resolve"];
    unpack_once("systemd-resolved", &packages, &root, |_| Ok(()))?;
    Ok(root)
}

/// Fetches packages of Debian and unpacks them into a folder that is not there yet. Whole or not at all: `finish` does the
/// rest before it is.
pub(crate) fn unpack_once(
    what: &str,
    packages: &[&str],
    root: &Path,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if root.exists() {
        return Ok(());
    }
    shell::step(&format!("fetch {what} from Debian"));
    let mut part = root.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("remove {}", part.display()))?;
    }
    for package in packages {
        unpack_package(package, &part)?;
    }
    finish(&part)?;
    fs::rename(&part, root).with_context(|| format!("rename {}", part.display()))
}

/// Has apt learn which packages there are.
pub(crate) fn update_packages() -> Result<()> {
    shell::run(apt_get().arg("update"))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "--quiet"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn has_lists() -> bool {
    fs::read_dir("/var/lib/apt/lists")
        .is_ok_and(|entries| entries.flatten().any(|e| e.file_name().to_string_lossy().ends_with("Release")))
}

fn install_linker() -> Result<()> {
    shell::step("build bpf-linker (about a minute)");
    let path = env::var("PATH").unwrap_or_default();
    shell::run(
        cargo()
            .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"])
            .args(["--no-default-features", "--features", "llvm-22"])
            .env("PATH", format!("{LLVM_BIN}:{path}"))
            .env_remove("CARGO_TARGET_DIR"),
    )
}

/// Pins need a BPF file system. systemd mounts it at boot; containers and small machines have none.
pub(crate) fn mount_bpffs() -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let is_bpffs = |line: &str| line.split(' ').nth(2) == Some("bpf");
    if mounts.lines().any(|line| is_bpffs(line) && line.split(' ').nth(1) == Some(BPFFS)) || !is_root() {
        return Ok(());
    }
    shell::step(&format!("mount a BPF file system at {BPFFS}"));
    shell::run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]))
}
