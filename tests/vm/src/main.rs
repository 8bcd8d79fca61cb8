//! Process 1 of a virtual machine that exists to run one command.
#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::{
        reboot::{RebootMode, reboot},
        resource::{Resource, setrlimit},
        wait::{WaitStatus, wait},
    },
    unistd::{Pid, sethostname},
};
use vm::{ORDER, Order, Outcome, PORT_OUTCOME, PORT_OUTPUT};

/// File systems by type and place, in this order. cgroup v2 alone: what most of today's nodes have.
const MOUNTS: [(&str, &str); 8] = [
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("bpf", "/sys/fs/bpf"),
    ("tracefs", "/sys/kernel/tracing"),
    ("tmpfs", "/run"),
];
/// Without these nothing can be said to the outside.
const SPEECH: [&str; 2] = ["virtio_pci", "virtio_console"];
const PATIENCE: Duration = Duration::from_secs(60);
/// What the tests of the lab expect of a machine.
const FILES: u64 = 20_000;

fn main() {
    let outcome = run().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
    if let Err(error) = tell(&outcome) {
        complain(&format!("the VM cannot tell how it ended ({outcome:?}): {error:#}"));
    }
    nix::unistd::sync();
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    complain(&format!("cannot power off: {error}"));
}

fn run() -> Result<Outcome> {
    for (kind, place) in MOUNTS {
        mount_at(kind, Path::new(place))?;
    }
    modprobe(&SPEECH.map(str::to_owned))?;
    let output = port(PORT_OUTPUT)?;
    let order: Order = serde_json::from_slice(&fs::read(ORDER).context(ORDER)?).context(ORDER)?;
    prepare(&order)?;
    let [program, args @ ..] = order.command.as_slice() else { bail!("no command") };
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(&order.env).current_dir(&order.dir);
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    tell(&Outcome::Started)?;
    let child = command.spawn().with_context(|| format!("cannot run `{}`", order.command.join(" ")))?;
    let status = reap_until(Pid::from_raw(child.id().try_into()?))?;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => Outcome::Exited(code),
        (None, signal) => Outcome::Signalled(signal.unwrap_or_default()),
    })
}

fn mount_at(kind: &str, place: &Path) -> Result<()> {
    fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
    match mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>) {
        // The kernel has mounted /dev by itself.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("mount {kind} at {}", place.display())),
    }
}

fn prepare(order: &Order) -> Result<()> {
    sethostname("vm")?;
    setrlimit(Resource::RLIMIT_NOFILE, FILES, FILES).context("raise the limit of open files")?;
    modprobe(&order.modules)?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).env("PATH", "/usr/sbin:/usr/bin").status();
    ensure!(up.context("run `ip`")?.success(), "`ip link set lo up` failed");
    Ok(())
}

fn modprobe(modules: &[String]) -> Result<()> {
    let output = Command::new("/usr/sbin/modprobe").arg("--all").args(modules).output();
    let output = output.context("run modprobe")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "load {}: {}", modules.join(" "), complaint.trim());
    Ok(())
}

/// The port of this name, as soon as there is one: ports come up a moment after their driver.
fn port(name: &str) -> Result<File> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(path) = find_port(name) {
            return OpenOptions::new().write(true).open(&path).with_context(|| format!("{}", path.display()));
        }
        ensure!(Instant::now() < deadline, "no virtio port {name}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn find_port(name: &str) -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let called = |path: &Path| fs::read_to_string(path.join("name")).is_ok_and(|found| found.trim() == name);
    let port = ports.flatten().map(|entry| entry.path()).find(|path| called(path))?;
    Some(Path::new("/dev").join(port.file_name()?)).filter(|path| path.exists())
}

/// Waits for the child, and for all whose parents have left them to process 1.
fn reap_until(child: Pid) -> Result<ExitStatus> {
    loop {
        match wait().context("wait for the command")? {
            WaitStatus::Exited(pid, code) if pid == child => return Ok(ExitStatus::from_raw(code << 8)),
            WaitStatus::Signaled(pid, signal, _) if pid == child => {
                return Ok(ExitStatus::from_raw(signal as i32));
            }
            _ => {}
        }
    }
}

fn tell(outcome: &Outcome) -> Result<()> {
    let mut line = serde_json::to_vec(outcome)?;
    line.push(b'\n');
    Ok(port(PORT_OUTCOME)?.write_all(&line)?)
}

/// To the kernel's log, for nothing else may be there.
fn complain(complaint: &str) {
    let _nobody_hears = fs::write("/dev/kmsg", format!("init: {complaint}\n"));
}
