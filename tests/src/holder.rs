//! What makes a place a machine of its own: namespaces of processes and of mounts, and the process that holds them.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{
    Place, Process,
    place::PATIENCE,
    process::{Io, Spawner},
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

    /// As when the power fails: every process in there is killed at once, and waited for.
    pub(crate) fn kill(&self) -> Result<()> {
        match self.process.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The kernel lets the first process end only after all others.
            Some(process) => process.kill().map(drop),
            None => Ok(()),
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Process::pid)
    }

    /// Stays after we are gone.
    pub(crate) fn leave(&self) {
        if let Some(process) = self.process.lock().unwrap_or_else(PoisonError::into_inner).take() {
            process.leave();
        }
    }
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
