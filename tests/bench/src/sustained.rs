//! Two minutes of short connections: whatever fills up in the kernel or in the proxy is full by then.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    markdown::{Table, short},
    middle::median,
    progress,
    report::{Report, Section, Target},
    road::{Road, Stage},
    workload::Bound,
};

const CLIENTS: usize = 4;
/// The end of the time that is compared with its first second.
const LAST: usize = 10;
const LEAST: Bound = Bound::AtLeast(0.9);

/// Connections in each second, and what went wrong.
#[derive(Debug, PartialEq)]
struct Course {
    by_second: Vec<f64>,
    failed: u64,
}

pub(crate) fn run(report: &mut Report, seconds: u64) -> Result<()> {
    let mut table = Table::new(&[
        "conn/s",
        "first second",
        "median",
        "worst second",
        "last 10 s",
        "last ÷ first",
        "failed",
    ]);
    for road in Road::COMPARED {
        let mut stage = Stage::build(road)?;
        let addr = stage.serve("answer", 16)?.to_string();
        let (clients, time) = (CLIENTS.to_string(), seconds.to_string());
        progress!("sustained  {road}: {time} s …");
        let course =
            Course::of(&stage.load(&["connect", &addr, "--clients", &clients, "--seconds", &time])?)?;
        let (first, last) = (course.first(), course.last());
        let ratio = last / first;
        progress!("sustained  {road}: {} conn/s at first, {} at last", short(first), short(last));
        table.row([
            road.to_string(),
            short(first),
            short(course.median()),
            short(course.worst()),
            short(last),
            format!("{ratio:.2}"),
            course.failed.to_string(),
        ]);
        if road == Road::Ours {
            report.targets.push(Target {
                what: format!("connect-request-close, {seconds} s: its last 10 s ÷ its first second"),
                wanted: LEAST.to_string(),
                found: format!("{ratio:.2}"),
                met: LEAST.holds(ratio) && course.failed == 0,
                workload: None,
            });
        }
    }
    report.sections.push(Section {
        title: "Sustained connect-request-close",
        text: "Four clients. The server ends first: all 28 000 ports of the client are in TIME_WAIT at the server's \
               side after some seconds, and the rest of the time reuses them.",
        table,
    });
    Ok(())
}

// === impl Course ===

impl Course {
    fn of(found: &Value) -> Result<Self> {
        let seconds = found["by_second"].as_array().with_context(|| format!("no seconds in {found}"))?;
        let by_second: Vec<f64> = seconds.iter().filter_map(Value::as_f64).collect();
        ensure!(2 <= by_second.len(), "too short: {found}");
        let failures = found["failures"].as_object().with_context(|| format!("no failures in {found}"))?;
        Ok(Self { by_second, failed: failures.values().filter_map(Value::as_u64).sum() })
    }

    fn first(&self) -> f64 {
        self.by_second.first().copied().unwrap_or_default()
    }

    fn last(&self) -> f64 {
        median(self.by_second.iter().rev().take(LAST).copied()).unwrap_or_default()
    }

    fn median(&self) -> f64 {
        median(self.by_second.iter().copied()).unwrap_or_default()
    }

    fn worst(&self) -> f64 {
        self.by_second.iter().copied().min_by(f64::total_cmp).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
