//! The table, a line as soon as it is known.

use std::time::Duration;

use clap::ValueEnum;

use crate::{
    delays::Delays,
    scenario::Scenario,
    stage::{Found, LONG, Way},
};

pub(crate) fn header() {
    println!(
        "\n| {:<10} | {:>9} | {:>11} | {:>9} | {:>11} | {:>10} | {:>7} | {:>13} |",
        "",
        "long, same",
        "fresh, same",
        "long, other",
        "fresh, other",
        "slowest ms",
        "took ms",
        "probes missed"
    );
    println!("| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
}

pub(crate) fn row(scenario: Scenario, found: &Found) {
    let Found { ways: [near, far], took, restarts, unready } = found;
    let name = scenario.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let slowest = near.slowest.max(far.slowest);
    println!(
        "| {name:<10} | {:>10} | {:>11} | {:>11} | {:>12} | {slowest:>10.1} | {:>7} | {:>13} |",
        long(near),
        fresh(near),
        long(far),
        fresh(far),
        took.as_millis(),
        format!("{restarts} + {unready}"),
    );
    for (way, server) in found.ways.iter().zip(["same", "other"]) {
        for (name, count) in way.failures.iter().chain(&way.long.failures) {
            eprintln!("    {server} node: {count} {name}");
        }
    }
}

pub(crate) fn delays(install: Option<Duration>, found: &Delays) {
    let Delays { label, label_and_kubectl, pod: [uncaptured, captured], forty: [kept, replaced], conflist } =
        found;
    println!("\n| medians, and where it is done only once, that | ms |\n| :--- | ---: |");
    for (what, found) in [
        ("from `helm install` until all agents are ready", &install.unwrap_or_default()),
        ("from the end of `kubectl label` to the first new connection that is captured", label),
        ("the same from its start", label_and_kubectl),
        ("from `kubectl run` to a ready pod, not captured", uncaptured),
        ("the same, captured", captured),
        ("from `kubectl apply` until the last of 40 captured pods is ready", kept),
        ("the same while the agents are replaced", replaced),
        ("from a conflist that somebody overwrote until the plugin is in it again", conflist),
    ] {
        println!("| {what} | {} |", found.as_millis());
    }
    println!();
}

fn long(way: &Way) -> String {
    format!("{} of {LONG}", LONG - way.long.open)
}

fn fresh(way: &Way) -> String {
    format!("{} of {}", way.failed, way.fresh + way.failed)
}
