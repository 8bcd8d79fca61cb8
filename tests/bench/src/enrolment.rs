//! How long it takes to capture pods, and how much of it is the kernel's.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

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

/// What an agent logs of one pod.
#[derive(Debug, PartialEq)]
enum Event {
    Captured { at: Timestamp, took: Duration },
    Step { pod: String, kind: String, took: Duration },
}

/// Of some pods at once, in milliseconds: all of them from the first to the last, then the medians of one and of its steps.
#[derive(Debug, PartialEq)]
struct Enrolments {
    all: f64,
    pod: f64,
    guard: f64,
    steer: f64,
    others: f64,
}

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let strangers = Strangers::look();
    let options = AgentOptions::default().arg("--log-json").env("RUST_LOG", "info,capture=debug");
    let mut stage = Stage::with(Road::Beside, options)?;
    let pods: Vec<Pod> = (0..PODS)
        .map(|number| stage.node.pod(CROWD, &format!("pod{number}")).start())
        .collect::<Result<_>>()?;
    let attach = attach_milliseconds(&strangers, &stage.client)?;
    stage.label(CROWD)?;
    let (first, lines) = enrolments(&stage, &pods, 0)?;
    stage.restart_agent()?;
    let (again, _) = enrolments(&stage, &pods, lines)?;
    let per_pod = first.all / PODS as f64;
    progress!("enrolment  {PODS} pods in {} ms, by the next agent in {}", short(first.all), short(again.all));

    let mut table = Table::new(&["ms", "captured", "taken over"]);
    let both = |of: fn(&Enrolments) -> f64| [short(of(&first)), short(of(&again))];
    for (what, [captured, taken_over]) in [
        (format!("{PODS} pods at once, from the first to the last"), both(|e| e.all)),
        ("the same, per pod".to_owned(), both(|e| e.all / PODS as f64)),
        ("one pod, median, as the agent logs it".to_owned(), both(|e| e.pod)),
        ("of it: the guard, attached to one interface".to_owned(), both(|e| e.guard)),
        ("of it: steer, verified and attached".to_owned(), both(|e| e.steer)),
        ("of it: listeners, rule, routes, sysctls, map entries".to_owned(), both(|e| e.others)),
        ("of it: to look at what is there, and the journal".to_owned(), both(Enrolments::rest)),
    ] {
        table.row([what, captured, taken_over]);
    }
    table.row([
        "the guard, attached by the bench to an idle interface".to_owned(),
        short(attach),
        "".to_owned(),
    ]);
    report.sections.push(Section {
        title: "Enrolment",
        text: "The namespace of the pods is labelled, with the agent running; then the agent is killed, and the next takes \
               over what is there. When a program is attached, TCX waits for a grace period of RCU, for all of the next \
               where one has begun, and holds the lock of rtnetlink meanwhile, so that no two of them wait at once. That is \
               the kernel's: the bench, with nobody else at work, waits too.",
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

/// What the agent has logged after so many lines, once all are captured; and how many lines there are now.
fn enrolments(stage: &Stage, pods: &[Pod], after: usize) -> Result<(Enrolments, usize)> {
    let agent = stage.agent()?;
    pods.iter().try_for_each(|pod| agent.wait_captured(pod))?;
    let log = agent.log()?;
    Ok((Enrolments::read(log.lines().skip(after), CROWD)?, log.lines().count()))
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

// === impl Enrolments ===

impl Enrolments {
    /// Of the pods of one namespace, from the lines of an agent's log.
    fn read<'l>(lines: impl Iterator<Item = &'l str>, namespace: &str) -> Result<Self> {
        let (mut captured, mut steps) = (Vec::new(), Vec::new());
        for event in lines.filter_map(|line| Event::read(line, namespace)) {
            match event {
                Event::Captured { at, took } => captured.push((at, took)),
                Event::Step { pod, kind, took } => steps.push((pod, kind, took)),
            }
        }
        ensure!(captured.len() == PODS, "the agent logged {} captures of {PODS}", captured.len());
        let begin = captured.iter().map(|(at, took)| *at - *took).min().context("no pod was captured")?;
        let end = captured.iter().map(|(at, _)| *at).max().context("no pod was captured")?;
        // For each pod all its steps of a kind together.
        let milliseconds = |is: fn(&str) -> bool| {
            let mut of_pod: BTreeMap<&str, f64> = BTreeMap::new();
            for (pod, kind, took) in &steps {
                *of_pod.entry(pod).or_default() += if is(kind) { took.as_secs_f64() * 1e3 } else { 0.0 };
            }
            median(of_pod.into_values()).context("no step was logged")
        };
        Ok(Self {
            all: end.duration_since(begin).as_secs_f64() * 1e3,
            pod: median(captured.iter().map(|(_, took)| took.as_secs_f64() * 1e3))
                .context("no pod was captured")?,
            guard: milliseconds(|kind| kind == "Guard")?,
            steer: milliseconds(|kind| kind == "Steer")?,
            others: milliseconds(|kind| !matches!(kind, "Guard" | "Steer"))?,
        })
    }

    fn rest(&self) -> f64 {
        self.pod - self.guard - self.steer - self.others
    }
}

// === impl Event ===

impl Event {
    /// `None` for a line that tells something else, or of a pod in another namespace.
    fn read(line: &str, namespace: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        let pod = event["pod"].as_str()?;
        if pod.split('/').next() != Some(namespace) {
            return None;
        }
        let took = Duration::from_secs_f64(microseconds(event["took"].as_str()?)? / 1e6);
        match event["message"].as_str()? {
            "Pod captured" => Some(Self::Captured { at: event["timestamp"].as_str()?.parse().ok()?, took }),
            "Step taken" => {
                let kind = event["step"].as_str()?.split([' ', '(']).next()?.to_owned();
                Some(Self::Step { pod: pod.to_owned(), kind, took })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
