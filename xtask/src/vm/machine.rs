//! qemu: boots, runs the order, ends.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use vm::{Outcome, PORT_OUTCOME, PORT_OUTPUT};

use super::{Settings, kernel::Kernel};

pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) initramfs: &'a Path,
    /// A folder for what qemu writes.
    pub(super) scratch: &'a Path,
    /// For what the command prints, where not to ours.
    pub(super) output: Option<&'a File>,
    pub(super) settings: &'a Settings,
}

/// What executes the instructions of the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accelerator {
    /// The processor. Where this machine is a VM itself, not each kernel gets through its boot.
    Kvm,
    /// qemu, in software.
    Tcg,
}

/// A running qemu, killed if it is dropped.
struct Running(Child);

const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Machine<'_> {
    pub(super) fn run(&self) -> Result<Outcome> {
        let note = self.kernel.note("kvm-does-not-boot-it");
        if Path::new("/dev/kvm").exists() && !note.exists() {
            if let Some(outcome) = self.boot(Accelerator::Kvm)? {
                return Ok(outcome);
            }
            println!(
                "    this kernel does not boot with KVM here; from now on without it (remove {} to try again)",
                note.display()
            );
            fs::write(&note, "").with_context(|| format!("write {}", note.display()))?;
        }
        match self.boot(Accelerator::Tcg)? {
            Some(outcome) => Ok(outcome),
            None => bail!(
                "the kernel did not boot within {:?}; it said:\n{}",
                Accelerator::Tcg.patience(),
                self.console()
            ),
        }
    }

    /// `None` where the kernel did not come as far as our first process.
    fn boot(&self, accelerator: Accelerator) -> Result<Option<Outcome>> {
        let outcome = self.scratch.join("outcome");
        fs::write(&outcome, "").with_context(|| format!("write {}", outcome.display()))?;
        let mut qemu = self.qemu(accelerator, &outcome);
        if let Some(file) = self.output {
            qemu.stdout(file.try_clone()?);
        }
        let mut running = Running(qemu.spawn().context("run qemu-system-x86_64")?);
        let start = Instant::now();
        loop {
            let ended = running.0.try_wait()?;
            let told = fs::read_to_string(&outcome)?;
            let told = told.lines().map(serde_json::from_str).collect::<Result<Vec<Outcome>, _>>()?;
            match told.last() {
                Some(Outcome::Failed(why)) => bail!("the VM could not run the command: {why}"),
                Some(Outcome::Started) if ended.is_some() => {
                    bail!("the VM ended before its command did; its kernel said:\n{}", self.console())
                }
                Some(outcome) if ended.is_some() => return Ok(Some(outcome.clone())),
                None if ended.is_some() || accelerator.patience() < start.elapsed() => return Ok(None),
                Some(_) if self.settings.patience() < start.elapsed() => {
                    bail!("the command did not end within {} minutes (--minutes)", self.settings.minutes)
                }
                _ => thread::sleep(LOOK_EVERY),
            }
        }
    }

    fn qemu(&self, accelerator: Accelerator, outcome: &Path) -> Command {
        // Whatever becomes of us, it does not stay.
        let mut qemu = Command::new("setpriv");
        qemu.args([
            "--pdeathsig",
            "KILL",
            "qemu-system-x86_64",
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
        ]);
        qemu.args(["-display", "none", "-machine", "q35", "-cpu", "max"]);
        qemu.args([
            "-accel",
            accelerator.name(),
            "-smp",
            &self.settings.cpus.to_string(),
            "-m",
            &self.settings.memory.to_string(),
        ]);
        qemu.arg("-kernel").arg(self.kernel.image()).arg("-initrd").arg(self.initramfs);
        qemu.arg("-append").arg(format!("console=ttyS0 panic=-1 quiet {}", self.settings.cmdline));
        qemu.arg("-serial").arg(format!("file:{}", self.log().display()));
        qemu.args(["-device", "virtio-rng-pci"]);
        qemu.args(["-device", "virtio-serial-pci", "-chardev", "stdio,id=output"]);
        qemu.args(["-device", &format!("virtserialport,chardev=output,name={PORT_OUTPUT}")]);
        qemu.arg("-chardev").arg(format!("file,id=outcome,path={}", outcome.display()));
        qemu.args(["-device", &format!("virtserialport,chardev=outcome,name={PORT_OUTCOME}")]);
        // Nothing is written to it. At its end qemu would take the whole port for closed.
        qemu.stdin(Stdio::piped());
        qemu
    }

    fn log(&self) -> PathBuf {
        self.scratch.join("console.log")
    }

    /// The last that the kernel said.
    fn console(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

// === impl Accelerator ===

impl Accelerator {
    fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// How long a boot may take: many times what it does take.
    fn patience(self) -> Duration {
        match self {
            Self::Kvm => Duration::from_secs(15),
            Self::Tcg => Duration::from_secs(120),
        }
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        let _it_has_ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}
