//! What the kernel's clock says of eBPF programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use anyhow::{Context, Result, ensure};
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
    before: BTreeMap<u32, Runs>,
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

    /// The others by id and name, as they stand now. One that is unloaded while we look is no loss.
    fn runs(&self) -> Vec<(u32, String, Runs)> {
        let read =
            |program: ProgramInfo| Some((program.id(), program.name_as_str()?.to_owned(), fdinfo(&program)?));
        self.others().into_iter().filter_map(read).collect()
    }

    /// Starts to count.
    pub(crate) fn clock(self) -> Result<Clock> {
        let counting =
            enable_stats(Stats::RunTime).context("cannot have the kernel count the runs of programs")?;
        let before = self.runs().into_iter().map(|(id, _, runs)| (id, runs)).collect();
        Ok(Clock { strangers: self, before, _counting: counting })
    }
}

// === impl Clock ===

impl Clock {
    /// The runs of all programs of that name since the clock was started.
    pub(crate) fn read(&self, name: &str) -> Result<Runs> {
        let programs = self.strangers.runs();
        let runs: Vec<_> = programs
            .iter()
            .filter(|(_, found, _)| found == name)
            .map(|(id, _, now)| now.since(self.before.get(id).copied().unwrap_or_default()))
            .collect();
        ensure!(!runs.is_empty(), "the agent has loaded no program {name}");
        let sum = |all: Runs, one: &Runs| Runs {
            count: all.count + one.count,
            nanoseconds: all.nanoseconds + one.nanoseconds,
        };
        Ok(runs.iter().fold(Runs::default(), sum))
    }
}

// === impl Runs ===

impl Runs {
    fn since(self, before: Self) -> Self {
        Self { count: self.count - before.count, nanoseconds: self.nanoseconds - before.nanoseconds }
    }

    /// Nanoseconds a run.
    pub(crate) fn each(self) -> f64 {
        self.nanoseconds as f64 / self.count.max(1) as f64
    }
}

fn fdinfo(program: &ProgramInfo) -> Option<Runs> {
    let fd = program.fd().ok()?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd())).ok()?;
    let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key))?.trim().parse().ok();
    Some(Runs { count: field("run_cnt:")?, nanoseconds: field("run_time_ns:")? })
}

fn loaded() -> Vec<ProgramInfo> {
    loaded_programs().filter_map(Result::ok).collect()
}
