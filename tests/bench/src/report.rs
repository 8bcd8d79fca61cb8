//! What a run found, as text.

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result};

use crate::{markdown::Table, workload::Workload};

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

/// How the run was made.
#[derive(Debug)]
pub(crate) struct Circumstances {
    pub(crate) cores: usize,
    pub(crate) kernel: String,
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

    pub(crate) fn write(&self, circumstances: &Circumstances, path: &Path) -> Result<()> {
        let text = format!("{circumstances}\n{self}");
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
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
                "CPU samples of the whole machine while it ran over our road, by program and symbol.\n"
            )?;
            writeln!(f, "```text\n{}\n```\n", text.trim_end())?;
        }
        Ok(())
    }
}

// === impl Circumstances ===

impl fmt::Display for Circumstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, kernel, rounds, seconds } = self;
        writeln!(
            f,
            "# How fast a captured pod is\n\n\
             {cores} cores, kernel {kernel}; {rounds} rounds of {seconds} s. Written by `cargo xtask bench capture \
             --rounds {rounds} --seconds {seconds}`, as root on Debian 12.\n\n\
             Two pods on one bridge of one node. *direct*: no agent on the machine. *ours*: both pods captured, one \
             agent, access records written. *REDIRECT*: what is replaced, a proxy that listens in both namespaces \
             behind nftables REDIRECT (which `iptables` makes too) at the client's and at the server's side, finds \
             the destination by `SO_ORIGINAL_DST`, and runs the very copy code of ours; it resolves nothing and \
             writes no record. The roads take turns, each run on new namespaces, so that no TIME_WAIT of one is in \
             the way of the next. In connect-request-close the server ends first, as HTTP servers do: TIME_WAIT is \
             at its side and takes no port from the client."
        )
    }
}
