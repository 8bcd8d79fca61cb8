//! `cargo xtask vm`: the project on another kernel, in a small virtual machine.
//!
//! ```text
//! kernel   a package of Debian's, unpacked           image    the initramfs: our binaries and what they need
//! machine  qemu boots both, runs one command as root, hands out what it prints and how it ended
//! ```

mod image;
mod kernel;
mod machine;

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
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
        size: Size,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Size {
    #[arg(long, default_value_t = 2)]
    cpus: u32,
    /// MiB
    #[arg(long, default_value_t = 2048)]
    memory: u32,
}

/// What the tests need.
const SIZE: Size = Size { cpus: 2, memory: 2048 };
/// What has to be on this machine, by the package that has it.
const NEEDED: [(&str, &str); 2] = [("qemu-system-x86_64", "qemu-system-x86"), ("depmod", "kmod")];
/// For what the lab and people run in it. Which of them are not here are not there either.
const PROGRAMS: [&str; 46] = [
    "bash", "cat", "chmod", "cp", "curl", "cut", "date", "dmesg", "echo", "env", "false", "find", "getent",
    "grep", "head", "hostname", "id", "ip", "kill", "ln", "ls", "mkdir", "modprobe", "mount", "nft",
    "nsenter", "nstat", "ping", "prlimit", "ps", "rm", "sed", "setpriv", "sh", "sleep", "ss", "stat",
    "sysctl", "tail", "tc", "test", "timeout", "true", "umount", "uname", "unshare",
];
const MODULES: [&str; 5] = ["veth", "bridge", "dummy", "tun", "nf_tables"];

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    match &args.command {
        VmCommand::Run { kernel, size, command } => {
            let mut guest = Guest::prepare(workspace, *kernel, *size)?;
            shell::step(&format!("run `{}` on Linux {}", command.join(" "), guest.kernel.version));
            match guest.run(command)? {
                Outcome::Exited(0) => Ok(()),
                Outcome::Exited(code) => std::process::exit(code),
                Outcome::Signalled(signal) => std::process::exit(128 + signal),
                Outcome::Started | Outcome::Failed(_) => bail!("the command was not run"),
            }
        }
    }
}

/// Runs the lab tests on this kernel.
pub(crate) fn lab(workspace: &Workspace, release: Release, filter: Option<&str>) -> Result<()> {
    let mut guest = Guest::prepare(workspace, release, SIZE)?;
    let tests = build::lab_tests(workspace)?;
    guest.image.built(&tests, &tests)?;
    let command: Vec<_> =
        [tests.to_string_lossy().as_ref()].into_iter().chain(filter).map(str::to_owned).collect();
    shell::step(&format!("lab tests on Linux {}", guest.kernel.version));
    match guest.run(&command)? {
        Outcome::Exited(0) => Ok(()),
        outcome => bail!("the lab tests failed on Linux {}: {outcome:?}", guest.kernel.version),
    }
}

/// A machine that is ready to boot, as often as one likes.
struct Guest {
    kernel: Kernel,
    image: Image,
    size: Size,
    scratch: PathBuf,
    env: BTreeMap<String, String>,
}

// === impl Guest ===

impl Guest {
    fn prepare(workspace: &Workspace, release: Release, size: Size) -> Result<Self> {
        setup::run()?;
        setup::need(&NEEDED)?;
        build::release_with_lab(workspace)?;
        let init = build::init(workspace)?;
        let kernel = Kernel::fetch(release)?;
        let scratch = workspace.target.join("vm");
        fs::create_dir_all(&scratch).with_context(|| format!("create {}", scratch.display()))?;
        let mut image = Image::new(&scratch)?;
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
        Ok(Self { kernel, image, size, scratch, env })
    }

    fn run(&mut self, command: &[String]) -> Result<Outcome> {
        let order = Order {
            command: command.to_vec(),
            env: self.env.clone(),
            dir: "/root".into(),
            modules: MODULES.map(str::to_owned).to_vec(),
        };
        self.image.bytes(vm::ORDER, serde_json::to_vec(&order)?);
        let initramfs = self.scratch.join("initramfs");
        self.image.write(&initramfs)?;
        let Size { cpus, memory } = self.size;
        Machine { kernel: &self.kernel, initramfs: &initramfs, scratch: &self.scratch, cpus, memory }.run()
    }
}
