//! What those pay who want nothing from us: the connect hook's look-up.

use anyhow::Result;

use crate::{
    markdown::{Table, short},
    middle::{median, spread},
    programs::Strangers,
    progress,
    report::{Report, Section, Target},
    road::{Road, Stage},
    workload::{Workload, number},
};

pub(crate) fn run(report: &mut Report, rounds: u32, seconds: u64) -> Result<()> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        for (road, rates) in [(Road::Direct, &mut without), (Road::Beside, &mut with)] {
            let sample = Workload::Connect1.run(&mut Stage::build(road)?, seconds)?;
            rates.extend(sample.figures.iter().map(|&(_, rate)| rate));
            progress!("round {round}/{rounds}  uncaptured  {road}: {} conn/s", short(rates[rates.len() - 1]));
        }
    }
    let hook = hook(seconds)?;
    let [without_median, with_median] =
        [&without, &with].map(|rates| median(rates.iter().copied()).unwrap_or_default());
    let ratio = with_median / without_median;
    let noise = noise(&without, &with);

    let mut table = Table::new(&["", "no agent", "agent beside", "ratio"]);
    table.row([
        "connect-request-close, 1 client, conn/s".to_owned(),
        short(without_median),
        short(with_median),
        format!("{ratio:.2}"),
    ]);
    table.row(["connect4, ns per connect()".to_owned(), String::new(), short(hook), String::new()]);
    report.sections.push(Section {
        title: "An uncaptured pod",
        text: "An agent captures another pod of the node. The programs are timed by the kernel \
               (`kernel.bpf_stats_enabled`), in a run of their own, for the clock costs time itself.",
        table,
    });
    report.targets.push(Target {
        what: "uncaptured pod: conn/s with ÷ without agent".to_owned(),
        wanted: format!("1 within noise (± {noise:.2} here)"),
        found: format!("{ratio:.2}"),
        met: (1.0 - ratio).abs() <= noise,
        workload: None,
    });
    Ok(())
}

/// How far runs of the same are from their median; a machine that is noisier than this has nothing to say.
fn noise(without: &[f64], with: &[f64]) -> f64 {
    const MOST: f64 = 0.1;
    let noise = [without, with].map(|rates| spread(rates).unwrap_or_default() / 2.0);
    noise.into_iter().fold(0.0, f64::max).min(MOST)
}

/// Nanoseconds that the hook takes of a connect() in an uncaptured pod.
fn hook(seconds: u64) -> Result<f64> {
    let strangers = Strangers::look();
    let mut stage = Stage::build(Road::Beside)?;
    let addr = stage.serve("answer", 1)?.to_string();
    let clock = strangers.clock()?;
    let found = stage.load(&["connect", &addr, "--seconds", &seconds.to_string()])?;
    let runs = clock.read("connect4")?;
    progress!(
        "connect4 ran {} times for {} connections: {} ns each",
        runs.count,
        number(&found, "connections")?,
        short(runs.each())
    );
    Ok(runs.each())
}
