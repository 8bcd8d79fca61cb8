//! What the machine and a process have used, as /proc tells it.

use std::fs;

use anyhow::{Context, Result};

/// A process that is watched, by its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched(pub(crate) u32);

/// USER_HZ: what /proc counts CPU time in, on every architecture of Linux that matters here.
const TICKS_PER_SECOND: f64 = 100.0;

// === impl Watched ===

impl Watched {
    /// CPU seconds that it has used.
    pub(crate) fn cpu(self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.0);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        process_cpu(&text).with_context(|| format!("cannot understand {path}: {text}"))
    }

    /// Bytes of memory that it has now.
    pub(crate) fn resident(self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// Of it what is its own: not the program, which the kernel may drop and read again.
    pub(crate) fn anonymous(self) -> Result<u64> {
        self.memory("RssAnon:")
    }

    /// Forgets what it had before, for [`Self::peak`].
    pub(crate) fn forget_peak(self) -> Result<()> {
        let path = format!("/proc/{}/clear_refs", self.0);
        fs::write(&path, "5").with_context(|| format!("cannot write {path}"))
    }

    /// The most that it had since.
    pub(crate) fn peak(self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(self, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.0);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        memory(&text, field).with_context(|| format!("no {field} in {path}"))
    }
}

/// CPU seconds that the whole machine has been busy.
pub(crate) fn machine_cpu() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    busy(&text).with_context(|| format!("cannot understand /proc/stat: {text}"))
}

fn process_cpu(stat: &str) -> Option<f64> {
    // The name of the program is in parentheses and may contain anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn memory(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// All but idle, iowait and steal; guests are counted in user already.
fn busy(stat: &str) -> Option<f64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else { return None };
    Some((user + nice + system + irq + softirq) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests;
