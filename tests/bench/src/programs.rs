//! What the kernel's clock says of eBPF programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use aya::{
    programs::{ProgramInfo, loaded_programs},
    sys::{Stats, enable_stats},
};

/// The programs that were there before an agent, which another agent may have loaded.
#[derive(Debug)]
pub(crate) struct Strangers(BTreeSet<u32>);

/// Has the kernel count while it lives, as `kernel.bpf_stats_enabled` does, and for no longer.
#[derive(Debug)]
pub(crate) struct Clock {
    strangers: Strangers,
    before: BTreeMap<String, Runs>,
    _counting: OwnedFd,
}

/// How often a program has run, and for how long in all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) count: u64,
    nanoseconds: u64,
}

// === impl Strangers ===

impl Strangers {
    pub(crate) fn look() -> Self {
        Self(loaded().iter().map(ProgramInfo::id).collect())
    }

    /// Those that have come since.
    pub(crate) fn others(&self) -> Vec<ProgramInfo> {
        loaded().into_iter().filter(|program| !self.0.contains(&program.id())).collect()
    }

    /// Starts to count.
    pub(crate) fn clock(self) -> Result<Clock> {
        let counting =
            enable_stats(Stats::RunTime).context("cannot have the kernel count the runs of programs")?;
        let before = runs(&self)?;
        Ok(Clock { strangers: self, before, _counting: counting })
    }
}

// === impl Clock ===

impl Clock {
    /// The runs of all programs of that name since the clock was started.
    pub(crate) fn read(&self, name: &str) -> Result<Runs> {
        let now = runs(&self.strangers)?.get(name).copied().with_context(|| format!("no program {name}"))?;
        let before = self.before.get(name).copied().unwrap_or_default();
        Ok(Runs { count: now.count - before.count, nanoseconds: now.nanoseconds - before.nanoseconds })
    }
}

// === impl Runs ===

impl Runs {
    /// Nanoseconds a run.
    pub(crate) fn each(self) -> f64 {
        self.nanoseconds as f64 / self.count.max(1) as f64
    }
}

fn runs(strangers: &Strangers) -> Result<BTreeMap<String, Runs>> {
    let mut all = BTreeMap::<String, Runs>::new();
    for program in strangers.others() {
        let Some(name) = program.name_as_str() else { continue };
        let fd = program.fd().with_context(|| format!("cannot open the program {name}"))?;
        let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let field = |key: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
            value.and_then(|value| value.parse::<u64>().ok()).with_context(|| format!("no {key} in {text}"))
        };
        let sum = all.entry(name.to_owned()).or_default();
        sum.count += field("run_cnt:")?;
        sum.nanoseconds += field("run_time_ns:")?;
    }
    Ok(all)
}

/// One that is unloaded while we look is no loss.
fn loaded() -> Vec<ProgramInfo> {
    loaded_programs().filter_map(Result::ok).collect()
}
