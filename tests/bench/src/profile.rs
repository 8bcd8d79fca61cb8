//! Where the time goes, by `perf`.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{
    progress,
    report::{Profile, Report},
    road::{Road, Stage},
    workload::Workload,
};

/// The lines of a profile that are worth reading.
const LINES: usize = 25;

/// Profiles what has missed its target.
pub(crate) fn run(report: &mut Report, seconds: u64) -> Result<()> {
    for workload in report.missed() {
        progress!("profile  {}", workload.name());
        let text =
            profile(workload, seconds).with_context(|| format!("cannot profile {}", workload.name()))?;
        report.profiles.push(Profile { workload, text });
    }
    Ok(())
}

fn profile(workload: Workload, seconds: u64) -> Result<String> {
    let mut stage = Stage::build(Road::Ours)?;
    let data = stage.lab.manifests().with_file_name("perf.data");
    let mut perf = Command::new("perf")
        .args(["record", "--all-cpus", "--freq", "499", "--output"])
        .arg(&data)
        .args(["--", "sleep", &seconds.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run perf (Debian: linux-perf)")?;
    let ran = workload.run(&mut stage, seconds);
    let recorded = perf.wait()?;
    ran?;
    ensure!(recorded.success(), "perf record: {recorded}");
    let report = Command::new("perf")
        .args([
            "report",
            "--stdio",
            "--no-children",
            "--sort",
            "comm,symbol",
            "--percent-limit",
            "0.8",
            "--input",
        ])
        .arg(&data)
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&report.stdout);
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines
        .take(LINES)
        .map(|line| line.split("  -").next().unwrap_or(line).trim_end())
        .collect::<Vec<_>>()
        .join("\n"))
}
