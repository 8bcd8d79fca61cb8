//! Where the time goes, by `perf`.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    progress,
    report::{Profile, Report},
    road::{Road, Stage},
    workload::Workload,
};

/// The lines of a profile that are worth reading.
const LINES: usize = 25;

/// Profiles what has missed its target. What cannot be profiled is still worth writing down.
pub(crate) fn run(report: &mut Report, seconds: u64) {
    for workload in report.missed() {
        progress!("profile  {}", workload.name());
        let text = profile(workload, seconds).unwrap_or_else(|error| format!("no profile: {error:#}"));
        report.profiles.push(Profile { workload, text });
    }
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
    let programs = perf_report(&data, "comm")?;
    let symbols = perf_report(&data, "comm,symbol")?;
    Ok(format!("{programs}\n\n{symbols}"))
}

fn perf_report(data: &Path, sort: &str) -> Result<String> {
    let report = Command::new("perf")
        .args(["report", "--stdio", "--no-children", "--percent-limit", "0.8", "--sort", sort, "--input"])
        .arg(data)
        .stderr(Stdio::null())
        .output()
        .context("cannot run perf")?;
    Ok(digest(&String::from_utf8_lossy(&report.stdout)))
}

/// Without the headings, and without the columns that are empty.
fn digest(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let lines = lines.map(|line| line.trim_end_matches([' ', '-']));
    lines.take(LINES).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn what_perf_prints_is_cut_down_to_what_was_found() {
        let text = "\
# Samples: 629  of event 'cpu-clock:pppH'
#
# Overhead  Command          Symbol                 IPC   [IPC Coverage]
# ........  ...............  .....................  ....................
#
    12.33%  swapper          [k] pv_native_safe_halt          -      -
     8.39%  tokio-rt-worker  [k] _copy_to_iter                -      -

";
        let expected = "    12.33%  swapper          [k] pv_native_safe_halt\n     8.39%  tokio-rt-worker  [k] _copy_to_iter";
        assert_eq!(digest(text), expected);
        assert_eq!(digest(&text.repeat(40)).lines().count(), super::LINES);
    }
}
