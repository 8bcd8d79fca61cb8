//! How fast a captured pod's DNS queries are answered, beside dnsmasq, which answers the same ones itself.
#![expect(clippy::print_stdout, reason = "a report is what a bench prints")]

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    markdown::{Table, short},
    middle::median,
    progress,
    report::{Circumstances, Report, Section, Target},
    workload::Bound,
};

mod headless;
mod question;
mod stage;

use self::{
    question::{Question, Way},
    stage::{Sample, Stage},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each measurement is made; the medians count
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long each takes
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Only this, printed and not written down; may be given again
    #[arg(long, value_enum)]
    only: Vec<Part>,
}

/// What there is to measure.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The name of a Kubernetes service
    Service,
    /// The host of a ServiceEntry, which was given an address
    Allocated,
    /// A name that the mesh does not know
    Forwarded,
    /// What a headless service of 10 000 endpoints costs
    Headless,
}

/// What the chapter of a whole run begins with.
const TITLE: &str = "How fast a captured pod's DNS is";
const SETTING: &str = "\
A client asks for one name and type A over UDP, from one socket. *dnsmasq*: a pod outside the mesh asks dnsmasq in \
another pod of its node, which has the name by `--host-record`. *ours*: a captured pod asks the same dnsmasq for the same \
name; the mesh answers for a service and for the host of a ServiceEntry with an allocated address, and forwards the query \
for a name outside. *dnsmasq over lo*: dnsmasq in the pod of the client itself, so that nothing crosses an interface, as \
nothing does with ours. All take turns in each round, beside the same agent on the same machine.";

/// The mesh is to answer no slower than so many times what dnsmasq takes, and no fewer queries accordingly.
const TIMES: f64 = 1.3;

type Figure = fn(&Sample) -> f64;

/// The runs so far.
#[derive(Debug, Default)]
struct Comparison(BTreeMap<(Question, Way), Vec<Sample>>);

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { rounds, seconds, ref only } = *args;
    let begun = Instant::now();
    let parts = if only.is_empty() { Part::value_variants() } else { only };
    let mut report = Report::default();
    let questions: Vec<_> = parts.iter().filter_map(|part| part.question()).collect();
    if !questions.is_empty() {
        Comparison::run(&questions, rounds, seconds)?.report(&mut report);
    }
    if parts.contains(&Part::Headless) {
        headless::run(&mut report, seconds)?;
    }
    println!("\n{report}");
    if only.is_empty() {
        let circumstances = Circumstances { title: TITLE, command: "dns", setting: SETTING, rounds, seconds };
        report.write(&circumstances)?;
        println!("written to tests/bench/RESULTS.md");
    }
    progress!("{} s in all", begun.elapsed().as_secs());
    Ok(())
}

// === impl Part ===

impl Part {
    fn question(self) -> Option<Question> {
        match self {
            Self::Service => Some(Question::Service),
            Self::Allocated => Some(Question::Allocated),
            Self::Forwarded => Some(Question::Forwarded),
            Self::Headless => None,
        }
    }
}

// === impl Comparison ===

impl Comparison {
    /// The ways of one question follow each other, so that whatever else the machine does meets all of them alike.
    fn run(questions: &[Question], rounds: u32, seconds: u64) -> Result<Self> {
        let stage = Stage::build()?;
        let mut samples = Self::default();
        for round in 1..=rounds {
            for &question in questions {
                for way in Way::ALL {
                    let named = || format!("asking for {} by way of {}", question.name(), way.name());
                    let sample = stage.ask(question, way, seconds).with_context(named)?;
                    progress!(
                        "round {round}/{rounds}  {:<11}{:<17}p50 {} µs  p99 {} µs  {} queries/s",
                        question.word(),
                        way.name(),
                        short(sample.p50),
                        short(sample.p99),
                        short(sample.rate)
                    );
                    samples.0.entry((question, way)).or_default().push(sample);
                }
            }
        }
        Ok(samples)
    }

    fn median(&self, question: Question, way: Way, figure: Figure) -> Option<f64> {
        median(self.0.get(&(question, way))?.iter().map(figure))
    }

    /// Divided by that of dnsmasq.
    fn ratio(&self, question: Question, way: Way, figure: Figure) -> Option<f64> {
        Some(self.median(question, way, figure)? / self.median(question, Way::Dnsmasq, figure)?)
    }

    fn report(&self, report: &mut Report) {
        for question in Question::ALL.into_iter().filter(|question| question.is_of_mesh()) {
            for (what, figure, bound) in [
                ("p50", (|sample| sample.p50) as Figure, Bound::AtMost(TIMES)),
                // Two digits of what the bound prints.
                ("queries/s", |sample| sample.rate, Bound::AtLeast((100.0 / TIMES).round() / 100.0)),
            ] {
                if let Some(ratio) = self.ratio(question, Way::Ours, figure) {
                    report.targets.push(Target {
                        what: format!("{}, {what}: ours ÷ dnsmasq", question.title()),
                        wanted: bound.to_string(),
                        found: format!("{ratio:.2}"),
                        met: bound.holds(ratio),
                        workload: None,
                    });
                }
            }
        }
        report.sections.push(Section {
            title: "Latency",
            text: "One query in flight. Medians of the rounds; in parentheses the ratio to dnsmasq.",
            table: self.table(&[("p50 µs", |sample| sample.p50), ("p99 µs", |sample| sample.p99)]),
        });
        report.sections.push(Section {
            title: "Throughput",
            text: "32 queries in flight. CPU time is that of the whole machine, of both cores, client and resolver \
                   included, divided by the queries that were answered.",
            table: self.table(&[
                ("queries/s", |sample| sample.rate),
                ("CPU µs per query", |sample| sample.machine),
                ("of it the agent's", |sample| sample.agent),
                ("lost of a million", |sample| sample.lost),
            ]),
        });
    }

    fn table(&self, figures: &[(&str, Figure)]) -> Table {
        let ways = Way::ALL.map(Way::name);
        let mut table = Table::new(&["", ways[0], ways[1], ways[2]]);
        for question in Question::ALL {
            for (title, figure) in figures {
                let cells = Way::ALL.map(|way| {
                    let value = self.median(question, way, *figure)?;
                    let ratio = self.ratio(question, way, *figure).filter(|ratio| ratio.is_finite());
                    Some(match ratio {
                        Some(ratio) if way != Way::Dnsmasq => format!("{} ({ratio:.2})", short(value)),
                        _ => short(value),
                    })
                });
                if let [Some(dnsmasq), Some(ours), Some(over_lo)] = cells {
                    table.row([format!("{}, {title}", question.title()), dnsmasq, ours, over_lo]);
                }
            }
        }
        table
    }
}

#[cfg(test)]
mod tests;
