//! Every workload over every road, in turn, and again.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::{
    markdown::{Table, mib, short},
    middle::median,
    progress,
    report::{Report, Section, Target},
    road::{Road, Stage},
    workload::{Figure, Sample, Workload},
};

/// The runs so far.
#[derive(Debug, Default)]
pub(crate) struct Comparison(BTreeMap<(Workload, Road), Vec<Sample>>);

// === impl Comparison ===

impl Comparison {
    /// Roads of one workload follow each other, so that whatever else the machine does meets all of them alike.
    pub(crate) fn run(workloads: &[Workload], rounds: u32, seconds: u64) -> Result<Self> {
        let mut samples = Self::default();
        for round in 1..=rounds {
            for &workload in workloads {
                for road in Road::COMPARED {
                    let named = || format!("{} over the road {road}", workload.name());
                    let mut stage = Stage::build(road).with_context(named)?;
                    let sample = workload.run(&mut stage, seconds).with_context(named)?;
                    let found: Vec<_> = sample.figures.iter().map(|&(_, value)| short(value)).collect();
                    progress!(
                        "round {round}/{rounds}  {:<11}{:<11}{}",
                        workload.name(),
                        road.name(),
                        found.join("  ")
                    );
                    samples.add(workload, road, sample);
                }
            }
        }
        Ok(samples)
    }

    fn add(&mut self, workload: Workload, road: Road, sample: Sample) {
        self.0.entry((workload, road)).or_default().push(sample);
    }

    pub(crate) fn median(&self, figure: Figure, road: Road) -> Option<f64> {
        let samples = self.samples(figure.workload(), road);
        median(
            samples.iter().flat_map(|sample| &sample.figures).filter(|(f, _)| *f == figure).map(|(_, v)| *v),
        )
    }

    /// Ours divided by direct.
    fn ratio(&self, figure: Figure, road: Road) -> Option<f64> {
        Some(self.median(figure, road)? / self.median(figure, Road::Direct)?)
    }

    fn samples(&self, workload: Workload, road: Road) -> &[Sample] {
        self.0.get(&(workload, road)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn report(&self, report: &mut Report) {
        report.sections.push(Section {
            title: "Speed",
            text: "Medians of the rounds; in parentheses the ratio to direct. A proxy has the kernel do everything twice: copy, \
                   wake, open, close. Where processors take long to wake, direct leaves them idle for much of the time, and \
                   that costs little; where direct keeps both busy, half of it is what any proxy could reach.",
            table: self.speed(),
        });
        report.sections.push(Section {
            title: "Cost",
            text: "CPU time of the whole machine (both cores, both pods) divided by the work done, and of it the \
                   proxy's; the most memory that the proxy had meanwhile.",
            table: self.cost(),
        });
        for figure in Figure::ALL {
            if let (Some(bound), Some(ratio)) = (figure.target(), self.ratio(figure, Road::Ours)) {
                report.targets.push(Target {
                    what: format!("{}: ours ÷ direct", figure.title()),
                    wanted: bound.to_string(),
                    found: format!("{ratio:.2}"),
                    met: bound.holds(ratio),
                    workload: Some(figure.workload()),
                });
            }
        }
    }

    fn speed(&self) -> Table {
        let mut table = Table::new(&["", "direct", "ours", "REDIRECT, both sides"]);
        for figure in Figure::ALL {
            let Some(direct) = self.median(figure, Road::Direct) else { continue };
            let beside = |road| match (self.median(figure, road), self.ratio(figure, road)) {
                (Some(value), Some(ratio)) => format!("{} ({ratio:.2})", short(value)),
                (None, _) | (_, None) => String::new(),
            };
            table.row([figure.title().to_owned(), short(direct), beside(Road::Ours), beside(Road::Redirect)]);
        }
        table
    }

    fn cost(&self) -> Table {
        let header =
            ["", "direct", "ours", "of it agent", "REDIRECT", "of it proxy", "agent's RSS", "proxy's RSS"];
        let mut table = Table::new(&header);
        let workloads: std::collections::BTreeSet<_> = self.0.keys().map(|(workload, _)| *workload).collect();
        for workload in workloads {
            let per_unit = |road, cpu: fn(&Sample) -> f64| {
                let each = self.samples(workload, road).iter().map(|sample| cpu(sample) / sample.units);
                // Where a unit takes long it is in milliseconds.
                let factor = if workload.unit() == "GiB" { 1e3 } else { 1e6 };
                median(each).map_or_else(String::new, |seconds| short(seconds * factor))
            };
            let unit = if workload.unit() == "GiB" { "ms" } else { "µs" };
            let peak = |road| {
                let peaks = self.samples(workload, road).iter().filter_map(|sample| sample.peak).max();
                peaks.map_or_else(String::new, mib)
            };
            table.row([
                format!("{}, {unit} per {}", workload.name(), workload.unit()),
                per_unit(Road::Direct, |sample| sample.machine),
                per_unit(Road::Ours, |sample| sample.machine),
                per_unit(Road::Ours, |sample| sample.proxy),
                per_unit(Road::Redirect, |sample| sample.machine),
                per_unit(Road::Redirect, |sample| sample.proxy),
                peak(Road::Ours),
                peak(Road::Redirect),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests;
