//! How long it takes to capture pods, and how much of it is the kernel's.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType, tc::TcAttachOptions};
use harness::{AgentOptions, Pod};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    markdown::{Table, short},
    middle::median,
    programs::Strangers,
    progress,
    report::{Report, Section, Target},
    road::{Road, Stage},
    workload::{Bound, microseconds},
};

const PODS: usize = 20;
const MOST: Bound = Bound::AtMost(10.0);
const CROWD: &str = "crowd";

/// An agent's word on one pod.
#[derive(Debug, PartialEq)]
struct Captured {
    at: Timestamp,
    took: Duration,
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let strangers = Strangers::look();
    let stage = Stage::with(Road::Beside, AgentOptions::default().arg("--log-json"))?;
    let pods: Vec<Pod> = (0..PODS)
        .map(|number| stage.node.pod(CROWD, &format!("pod{number}")).start())
        .collect::<Result<_>>()?;
    let attach = attach_milliseconds(&strangers, &stage.client)?;
    stage.label(CROWD)?;
    for pod in &pods {
        stage.agent()?.wait_captured(pod)?;
    }
    let log = stage.agent()?.log()?;
    let captured: Vec<_> = log.lines().filter_map(|line| Captured::read(line, CROWD)).collect();
    ensure!(captured.len() == PODS, "the agent logged {} captures of {PODS}", captured.len());
    let (all, each) = span(&captured).context("no pod was captured")?;
    let per_pod = all / PODS as f64;
    progress!("enrolment  {PODS} pods in {} ms; attaching the guard takes {} ms", short(all), short(attach));

    let mut table = Table::new(&["", "ms"]);
    for (what, milliseconds) in [
        (format!("{PODS} pods at once, from the first to the last"), all),
        ("the same, per pod".to_owned(), per_pod),
        ("one pod, median, as the agent logs it".to_owned(), each),
        ("of it: to attach the guard to one interface, measured alone".to_owned(), attach),
    ] {
        table.row([what, short(milliseconds)]);
    }
    report.sections.push(Section {
        title: "Enrolment",
        text: "The namespace of the pods is labelled, with the agent running. TCX waits for a grace period of RCU \
               when a program is attached: that is the kernel's, and the same program attached by the bench to an \
               interface of an idle pod takes as long.",
        table,
    });
    report.targets.push(Target {
        what: format!("enrolment, ms per pod ({PODS} at once)"),
        wanted: MOST.to_string(),
        found: short(per_pod),
        met: MOST.holds(per_pod),
        workload: None,
    });
    Ok(())
}

/// How long the kernel takes to attach the agent's own guard to an interface on which nothing happens.
fn attach_milliseconds(strangers: &Strangers, pod: &Pod) -> Result<f64> {
    let guard = strangers.others().into_iter().find(|program| program.name_as_str() == Some("guard"));
    let guard = guard.context("the agent has loaded no program guard")?;
    let mut guard = SchedClassifier::from_program_info(guard, "guard".into())?;
    let mut times = Vec::new();
    for _ in 0..PODS {
        let begun = Instant::now();
        let link = pod.exec(|| {
            let options = TcAttachOptions::TcxOrder(Default::default());
            guard.attach_with_options("eth0", TcAttachType::Egress, options)
        })??;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        guard.detach(link)?;
    }
    median(times).context("nothing was attached")
}

/// Milliseconds from the begin of the first to the end of the last, and the median of one.
fn span(captured: &[Captured]) -> Option<(f64, f64)> {
    let begin = |captured: &Captured| captured.at - captured.took;
    let (first, last) =
        (captured.iter().map(begin).min()?, captured.iter().map(|captured| captured.at).max()?);
    let each = median(captured.iter().map(|captured| captured.took.as_secs_f64() * 1e3))?;
    Some((last.duration_since(first).as_secs_f64() * 1e3, each))
}

// === impl Captured ===

impl Captured {
    /// `None` for a line that tells something else, or of a pod in another namespace.
    fn read(line: &str, namespace: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        let pod = event["pod"].as_str()?;
        if event["message"] != "Pod captured" || pod.split('/').next() != Some(namespace) {
            return None;
        }
        let took = microseconds(event["took"].as_str()?)?;
        Some(Self {
            at: event["timestamp"].as_str()?.parse().ok()?,
            took: Duration::from_secs_f64(took / 1e6),
        })
    }
}

#[cfg(test)]
mod tests;
