//! One of the programs that a cluster is made of: started, ended and started again, with a log.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, ensure};
use harness::{Io, Place, Process};

use crate::programs::{program, search_path};

/// Programs of Kubernetes are verbose; what they died of is at the end.
const LAST_LINES: usize = 12;

#[derive(Debug)]
pub(crate) struct Component {
    name: &'static str,
    args: Vec<OsString>,
    log: PathBuf,
    process: Mutex<Option<Process>>,
}

// === impl Component ===

impl Component {
    /// Nothing runs before [`Self::start`]. The log is in `dir`.
    pub(crate) fn new(name: &'static str, dir: &Path, args: Vec<OsString>) -> Self {
        Self { name, args, log: dir.join(format!("{name}.log")), process: Mutex::default() }
    }

    pub(crate) fn start(&self, place: &Place) -> Result<()> {
        let mut process = self.process();
        ensure!(process.is_none(), "{} of {} runs already", self.name, place.name());
        let mut command = place.command(&[program(self.name)?])?;
        command.args(&self.args).env("PATH", search_path()?);
        *process = Some(place.start(command, Io::Log(&self.log))?);
        Ok(())
    }

    /// SIGKILL, and waits for its end.
    pub(crate) fn kill(&self) -> Result<()> {
        let process = self.process().take().with_context(|| format!("{} does not run", self.name))?;
        process.kill().map(drop)
    }

    /// Whoever killed it, it has to be started again.
    pub(crate) fn forget(&self) {
        drop(self.process().take());
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.process().as_ref().map(Process::pid)
    }

    /// Leaves it running with the standing cluster.
    pub(crate) fn leave(&self) {
        if let Some(process) = self.process().take() {
            process.leave();
        }
    }

    /// The end of what it had to say, but for what went well.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().filter(|line| !is_information(line)).collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        last.iter().map(|line| format!("    {}: {line}\n", self.name)).collect()
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In the three formats that they have for their logs.
fn is_information(line: &str) -> bool {
    let is_klog = line.starts_with('I') && line[1..].starts_with(|c: char| c.is_ascii_digit());
    is_klog || line.contains("\"level\":\"info\"") || line.contains("level=info")
}

/// Words of a command line.
pub(crate) fn words<const N: usize>(words: [String; N]) -> Vec<OsString> {
    words.into_iter().map(OsString::from).collect()
}
