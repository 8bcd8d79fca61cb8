//! `cargo xtask vm`: the project on another kernel, in a small virtual machine.
//!
//! ```text
//! kernel   a package of Debian's, unpacked           image    the initramfs: our binaries and what they need
//! machine  qemu boots both, runs one command as root, hands out what it prints and how it ended
//! ```

mod image;
mod kernel;
mod machine;
mod verifier;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use tempfile::TempDir;
use vm::{Order, Outcome};

pub(crate) use kernel::Release;

use crate::{build, setup, shell, workspace::Workspace};
use image::Image;
use kernel::Kernel;
use machine::Machine;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: VmCommand,
}

#[derive(Subcommand)]
enum VmCommand {
    /// Boot a kernel, run a command as root, end with its exit code: `cargo xtask vm run --kernel 6.1 -- millstream check`
    Run {
        #[arg(long, value_enum, default_value_t = Release::HostDefault)]
        kernel: Release,
        #[command(flatten)]
        settings: Settings,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// What the eBPF programs cost each kernel's verifier, beside the last committed table
    Verifier {
        /// Commit to these: write them into tests/vm/VERIFIER.md
        #[arg(long)]
        write: bool,
    },
}

#[derive(Clone, clap::Args)]
pub(crate) struct Settings {
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// MiB
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// When to give up on the command
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// More for the kernel's command line, e.g. ipv6.disable=1
    #[arg(long, default_value = "")]
    cmdline: String,
}

/// What has to be on this machine, by the package that has it.
const NEEDED: [(&str, &str); 2] = [("qemu-system-x86_64", "qemu-system-x86"), ("depmod", "kmod")];
/// For what the lab and people run in it. Which of them are not here are not there either.
const PROGRAMS: [&str; 49] = [
    "bash", "cat", "chmod", "cp", "curl", "cut", "date", "dig", "dmesg", "dnsmasq", "echo", "env", "false",
    "find", "getent", "grep", "head", "hostname", "id", "ip", "kill", "ln", "ls", "mkdir", "modprobe",
    "mount", "nft", "nsenter", "nstat", "ping", "prlimit", "ps", "readlink", "rm", "sed", "setpriv", "sh",
    "sleep", "ss", "stat", "sysctl", "tail", "tc", "test", "timeout", "true", "umount", "uname", "unshare",
];
const MODULES: [&str; 5] = ["veth", "bridge", "dummy", "tun", "nf_tables"];

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    match &args.command {
        VmCommand::Verifier { write } => verifier::run(workspace, *write),
        VmCommand::Run { kernel, settings, command } => {
            let mut guest = Guest::prepare(workspace, *kernel, settings.clone())?;
            shell::step(&format!("run `{}` on Linux {}", command.join(" "), guest.kernel.version));
            let outcome = guest.run(command)?;
            // An exit would leave its folder.
            drop(guest);
            match outcome {
                Outcome::Exited(0) => Ok(()),
                Outcome::Exited(code) => std::process::exit(code),
                Outcome::Signalled(signal) => std::process::exit(128 + signal),
                Outcome::Started | Outcome::Failed(_) => bail!("the command was not run"),
            }
        }
    }
}

/// The oldest that the agent runs on, where the guard is a tc filter, and one between it and the newest.
pub(crate) const KERNELS: [Release; 2] = [Release::V6_1, Release::V6_12];

/// Runs lab tests on this kernel, but for those that need what it has not.
pub(crate) fn lab(workspace: &Workspace, release: Release, selection: &[String]) -> Result<()> {
    let mut guest = Guest::prepare(workspace, release, Settings::default())?;
    let tests = build::lab_tests(workspace)?;
    guest.image.built(&tests, &tests)?;
    let mut command = vec![tests.to_string_lossy().into_owned()];
    command.extend_from_slice(selection);
    command.extend(release.cannot().iter().flat_map(|test| ["--skip".to_owned(), (*test).to_owned()]));
    let version = guest.kernel.version.clone();
    shell::step(&format!("lab tests on Linux {version}"));
    if !release.cannot().is_empty() {
        println!("    without those that need TCX (Linux 6.6): {}", release.cannot().join(", "));
    }
    let outcome = guest.run(&command)?;
    ensure!(outcome == Outcome::Exited(0), "the lab tests failed on Linux {version}: {outcome:?}");
    Ok(())
}

/// Asks `millstream check` on a kernel that was told to have no IPv6.
pub(crate) fn check_without_ipv6(workspace: &Workspace) -> Result<()> {
    let settings = Settings { cmdline: "ipv6.disable=1".to_owned(), ..Settings::default() };
    let mut guest = Guest::prepare(workspace, Release::HostDefault, settings)?;
    shell::step(&format!("check on Linux {} without IPv6", guest.kernel.version));
    let said = guest.ask(&["millstream", "check"].map(str::to_owned))?;
    print!("{said}");
    ensure!(said.contains("off in this kernel: IPv4 alone is captured"), "the kernel has IPv6 all the same");
    Ok(())
}

/// Shows the product at work on the kernel of this machine's Debian.
pub(crate) fn demo(workspace: &Workspace) -> Result<()> {
    let mut guest = Guest::prepare(workspace, Release::HostDefault, Settings::default())?;
    shell::step(&format!("demo on Linux {}", guest.kernel.version));
    let outcome = guest.run(&["demo".to_owned()])?;
    ensure!(outcome == Outcome::Exited(0), "the demo failed: {outcome:?}");
    Ok(())
}

/// A machine that is ready to boot, as often as one likes.
struct Guest {
    kernel: Kernel,
    image: Image,
    settings: Settings,
    scratch: TempDir,
    env: BTreeMap<String, String>,
}

// === impl Settings ===

impl Settings {
    fn patience(&self) -> Duration {
        Duration::from_secs(60 * self.minutes)
    }
}

impl Default for Settings {
    /// What the tests need.
    fn default() -> Self {
        Self { cpus: 2, memory: 2048, minutes: 60, cmdline: String::new() }
    }
}

// === impl Guest ===

impl Guest {
    fn prepare(workspace: &Workspace, release: Release, settings: Settings) -> Result<Self> {
        setup::run()?;
        setup::need(&NEEDED)?;
        build::release_with_lab(workspace)?;
        let init = build::init(workspace)?;
        let kernel = Kernel::fetch(release)?;
        let scratch = tempfile::Builder::new().prefix("vm-").tempdir_in(&workspace.target);
        let scratch = scratch.context("make a folder for the virtual machine")?;
        let mut image = Image::new(scratch.path())?;
        image.built("/init", &init)?;
        for path in [
            workspace.millstream(),
            workspace.lab_program("lab"),
            workspace.lab_program("demo"),
            workspace.lab_program("peer"),
        ] {
            image.built(&path, &path)?;
            image.link(PathBuf::from("/usr/local/bin").join(path.file_name().unwrap_or_default()), &path);
        }
        for program in PROGRAMS {
            image.program(program)?;
        }
        // To be mounted over, where a pod has one of its own.
        image.bytes("/etc/resolv.conf", Vec::new());
        image.tree(
            &kernel.modules(),
            &[
                "kernel/net",
                "kernel/drivers/net",
                "kernel/drivers/virtio",
                "kernel/drivers/char",
                "kernel/lib",
                "kernel/crypto",
                "kernel/arch",
            ],
        )?;
        let millstream = workspace.millstream().to_string_lossy().into_owned();
        let env = [
            ("PATH", "/usr/local/bin:/usr/sbin:/usr/bin"),
            ("HOME", "/root"),
            ("COLUMNS", "100"),
            ("MILLSTREAM_BIN", &millstream),
        ];
        let env = env.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Ok(Self { kernel, image, settings, scratch, env })
    }

    fn run(&mut self, command: &[String]) -> Result<Outcome> {
        self.boot(command, None)
    }

    /// What a command that must succeed prints.
    fn ask(&mut self, command: &[String]) -> Result<String> {
        let answer = self.scratch.path().join("answer");
        let file = File::create(&answer).with_context(|| format!("create {}", answer.display()))?;
        let outcome = self.boot(command, Some(&file))?;
        let answer = fs::read_to_string(&answer).with_context(|| format!("read {}", answer.display()))?;
        ensure!(outcome == Outcome::Exited(0), "`{}`: {outcome:?}: {answer}", command.join(" "));
        Ok(answer)
    }

    fn boot(&mut self, command: &[String], output: Option<&File>) -> Result<Outcome> {
        let order = Order {
            command: command.to_vec(),
            env: self.env.clone(),
            dir: "/root".into(),
            modules: MODULES.map(str::to_owned).to_vec(),
        };
        self.image.bytes(vm::ORDER, serde_json::to_vec(&order)?);
        let initramfs = self.scratch.path().join("initramfs");
        self.image.write(&initramfs)?;
        let scratch = self.scratch.path();
        Machine { kernel: &self.kernel, initramfs: &initramfs, scratch, output, settings: &self.settings }
            .run()
    }
}
