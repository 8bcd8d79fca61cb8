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
        .args(["record", "--all-cpus", "--freq", "499", "--call-graph", "fp", "--output"])
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
    let programs = digest(&perf_report(&data, &["--no-children", "--sort", "comm"])?);
    let symbols = digest(&perf_report(&data, &["--no-children", "--sort", "comm,symbol"])?);
    let calls = system_calls(&perf_report(&data, &["--children", "--sort", "comm,symbol"])?);
    Ok(format!("{programs}\n\n{symbols}\n\n{calls}"))
}

fn perf_report(data: &Path, how: &[&str]) -> Result<String> {
    let report = Command::new("perf")
        .args(["report", "--stdio", "--call-graph", "none", "--percent-limit", "0.8"])
        .args(how)
        .arg("--input")
        .arg(data)
        .stderr(Stdio::null())
        .output()
        .context("cannot run perf")?;
    Ok(String::from_utf8_lossy(&report.stdout).into_owned())
}

/// Without the headings, and without the columns that are empty.
fn digest(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let lines = lines.map(|line| line.trim_end_matches([' ', '-']));
    lines.take(LINES).collect::<Vec<_>>().join("\n")
}

/// Of what was summed up over callers, the lines of system calls, with all that the kernel does in them.
fn system_calls(text: &str) -> String {
    /// As x86-64 names the functions that a program calls.
    const ENTRY: &str = "[k] __x64_sys_";
    let call = |line: &str| {
        let (before, name) = line.split_once(ENTRY)?;
        let mut before = before.split_whitespace();
        let (share, program) = (before.next()?, before.nth(1)?);
        Some(format!("{share:>10}  {program:<15}  {}", name.split_whitespace().next()?))
    };
    text.lines().filter_map(call).take(LINES).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{digest, system_calls};

    #[test]
    fn of_what_the_kernel_does_for_a_program_the_system_calls_are_told() {
        let text = "\
    46.12%     0.17%  busy             [k] do_softirq.part.0        -      -
    25.86%     0.01%  busy             [k] __x64_sys_connect        -      -
     2.98%     0.00%  load             [k] __x64_sys_socket         -      -
";
        assert_eq!(
            system_calls(text),
            "    25.86%  busy             connect\n     2.98%  load             socket"
        );
    }

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
