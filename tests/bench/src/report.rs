//! What a run found, as text.

use std::{fmt, fs, thread};

use anyhow::{Context, Result};

use crate::{markdown::Table, results, workload::Workload};

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) sections: Vec<Section>,
    pub(crate) targets: Vec<Target>,
    pub(crate) profiles: Vec<Profile>,
}

/// A table with its heading.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
    pub(crate) table: Table,
}

/// What was to be reached.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) found: String,
    pub(crate) met: bool,
    /// What to profile where it was missed.
    pub(crate) workload: Option<Workload>,
}

/// Where the time goes.
#[derive(Debug)]
pub(crate) struct Profile {
    pub(crate) workload: Workload,
    pub(crate) text: String,
}

/// How the run was made, and of what.
#[derive(Debug)]
pub(crate) struct Circumstances {
    pub(crate) title: &'static str,
    /// Of `cargo xtask bench`.
    pub(crate) command: &'static str,
    /// What is beside what.
    pub(crate) setting: &'static str,
    pub(crate) rounds: u32,
    pub(crate) seconds: u64,
}

// === impl Report ===

impl Report {
    /// Workloads that missed their target.
    pub(crate) fn missed(&self) -> Vec<Workload> {
        let missed = self.targets.iter().filter(|target| !target.met);
        let mut workloads: Vec<_> = missed.filter_map(|target| target.workload).collect();
        workloads.dedup();
        workloads
    }

    /// Into its chapter of RESULTS.md.
    pub(crate) fn write(&self, circumstances: &Circumstances) -> Result<()> {
        let Circumstances { title, command, setting, rounds, seconds } = circumstances;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("which kernel is this?")?;
        let (cores, kernel) = (thread::available_parallelism()?, kernel.trim());
        results::write(&format!(
            "# {title}\n\n\
             {cores} cores, kernel {kernel}; {rounds} rounds of {seconds} s. Written by `cargo xtask bench {command} \
             --rounds {rounds} --seconds {seconds}`, as root on Debian 12.\n\n\
             {setting}\n\n\
             {self}"
        ))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sections, targets, profiles } = self;
        if !targets.is_empty() {
            let mut table = Table::new(&["", "target", "found", "met"]);
            for Target { what, wanted, found, met, workload: _ } in targets {
                let met = if *met { "yes" } else { "no" };
                table.row([what.clone(), wanted.clone(), found.clone(), met.to_owned()]);
            }
            writeln!(f, "## Targets\n\n{table}")?;
        }
        for Section { title, text, table } in sections.iter().filter(|section| !section.table.is_empty()) {
            writeln!(f, "## {title}\n\n{text}\n\n{table}")?;
        }
        for Profile { workload, text } in profiles {
            writeln!(f, "## Why {} missed its target\n", workload.name())?;
            writeln!(
                f,
                "CPU samples of the whole machine while it ran over our road, by program (`load` is both ends, the others \
                 are threads of the agent), by symbol, and by system call with all that the kernel does in it, packets \
                 on their way included. A connection through a proxy is two of the kernel's.\n"
            )?;
            writeln!(f, "```text\n{}\n```\n", text.trim_end())?;
        }
        Ok(())
    }
}
