//! Threads of a process, held where they are: what a deadlock looks like from outside.

use std::{fs, marker::PhantomData};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::{
        ptrace,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

/// Threads that do not run until this is dropped.
#[derive(Debug)]
#[must_use = "they go on as soon as this is dropped"]
pub struct Held {
    threads: Vec<Pid>,
    /// Not `Send`: a thread that is traced obeys the one thread that traces it.
    _thread: PhantomData<*const ()>,
}

// === impl Held ===

impl Held {
    /// Holds every thread of the process but those of this name.
    pub(crate) fn all_but(pid: u32, name: &str) -> Result<Self> {
        let tasks = format!("/proc/{pid}/task");
        let mut held = Self { threads: Vec::new(), _thread: PhantomData };
        let mut others = 0;
        for task in fs::read_dir(&tasks).with_context(|| format!("cannot list {tasks}"))? {
            let task = task?;
            if fs::read_to_string(task.path().join("comm"))?.trim() == name {
                others += 1;
                continue;
            }
            let thread = Pid::from_raw(task.file_name().to_string_lossy().parse()?);
            ptrace::seize(thread, ptrace::Options::empty()).context("cannot trace a thread")?;
            held.threads.push(thread);
            ptrace::interrupt(thread).context("cannot hold a thread")?;
            waitpid(thread, Some(WaitPidFlag::__WALL)).context("cannot wait for a thread to be held")?;
        }
        ensure!(others > 0, "process {pid} has no thread {name}");
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for thread in &self.threads {
            // Where the process is gone there is nothing to let go.
            let _gone = ptrace::detach(*thread, None);
        }
    }
}
