//! What makes a place a machine of its own: namespaces of processes and of mounts, and the process that holds them.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::signal::Signal,
};

use crate::{
    Place, Process,
    place::PATIENCE,
    process::{Io, Spawner},
    teardown,
};

/// The first process of a PID namespace: when it ends, all others in there are killed, and what was mounted is gone.
#[derive(Debug)]
pub(crate) struct Holder {
    /// Taken away when it is killed.
    process: Mutex<Option<Process>>,
    pub(crate) mounts: File,
    pub(crate) spawner: Spawner,
}

/// Of what this prints, the holder's first line: its mounts are as they shall be.
const READY: &str = "ready";

// === impl Holder ===

impl Holder {
    /// Starts a shell that mounts what `mounts` says and then stays.
    pub(crate) fn start(place: &Place, mounts: &str) -> Result<Self> {
        // A shell that waits buries the orphans of others too, as a first process must.
        let script =
            format!("set -e\nmount -t proc proc /proc\n{mounts}\necho {READY}\nsleep infinity & wait");
        let mut command = place.command(&["sh", "-c", &script])?;
        own_mounts(&mut command);
        let spawner = Spawner::with_own_processes();
        let mut process = Process::start(place.name(), command, Io::Piped, &spawner)?;
        let said = process.line(PATIENCE).context("cannot mount what the node needs")?;
        ensure!(said == READY, "instead of {READY:?} the holder of {} said {said:?}", place.name());
        let mounts = format!("/proc/{}/ns/mnt", process.pid());
        let mounts = File::open(&mounts).with_context(|| format!("cannot open {mounts}"))?;
        Ok(Self { process: Mutex::new(Some(process)), mounts, spawner })
    }

    /// As when the power fails: every process in there is killed at once. Waits until they are dead.
    pub(crate) fn kill(&self) -> Result<()> {
        let Some(process) = self.take() else { return Ok(()) };
        let pid = process.pid();
        let namespace = fs::read_link(pid_namespace(pid))?;
        process.signal(Signal::SIGKILL)?;
        bury(process);
        let of_holder = |other: &u32| {
            *other != pid && fs::read_link(pid_namespace(*other)).is_ok_and(|other| other == namespace)
        };
        teardown::until_dead(|| {
            let others = teardown::all_processes().into_iter().filter_map(|other| u32::try_from(other).ok());
            others.filter(of_holder).filter_map(|pid| i32::try_from(pid).ok()).collect()
        })
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.lock().as_ref().map(Process::pid)
    }

    /// Stays after we are gone.
    pub(crate) fn leave(&self) {
        if let Some(process) = self.take() {
            process.leave();
        }
    }

    fn take(&self) -> Option<Process> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.take().into_iter().for_each(bury);
    }
}

/// Kills it and waits for its end, elsewhere: it ends only after the last of its namespace was waited for, by whoever
/// started that.
fn bury(process: Process) {
    thread::spawn(move || drop(process));
}

fn pid_namespace(pid: u32) -> String {
    format!("/proc/{pid}/ns/pid")
}

/// Its mounts are nobody else's; those of the machine are seen.
fn own_mounts(command: &mut Command) {
    let unmoor = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let root = Path::new("/");
        mount(None::<&Path>, root, None::<&Path>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&Path>)?;
        // What a container mounts shall be seen by others of the node.
        mount(None::<&Path>, root, None::<&Path>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&Path>)?;
        Ok(())
    };
    // SAFETY: between fork and exec `unmoor` only makes system calls; it neither allocates nor locks.
    unsafe { command.pre_exec(unmoor) };
}
