//! `millstream connections`

use std::{io::Write, thread::sleep, time::Duration};

use anyhow::{Result, bail};
use app::{
    api::{ConnectionRow, Request},
    run_dir::RunDir,
};
use jiff::{SpanRound, Timestamp, Unit};

use crate::{
    Outcome,
    args::ConnectionOptions,
    ask::ask,
    output::{Format, bytes, or_dash, print, table},
};

const REFRESH: Duration = Duration::from_secs(1);

pub(crate) fn run(run_dir: &RunDir, format: Format, options: &ConnectionOptions) -> Result<Outcome> {
    loop {
        let rows = fetch(run_dir, options)?;
        if options.watch && format == Format::Table {
            // Home and clear: the table is drawn in place.
            print!("\x1b[H\x1b[2J");
        }
        print(format, &rows, |rows| text(rows))?;
        if !options.watch {
            return Ok(Outcome::Fine);
        }
        std::io::stdout().flush()?;
        sleep(REFRESH);
    }
}

fn fetch(run_dir: &RunDir, options: &ConnectionOptions) -> Result<Vec<ConnectionRow>> {
    let nothing = || bail!("the agent is down, so no connection goes through it");
    let mut rows: Vec<ConnectionRow> = ask(run_dir, &Request::Connections, nothing)?;
    if let Some(pod) = &options.pod {
        rows.retain(|row| row.pod.to_string() == *pod);
    }
    Ok(rows)
}

fn text(rows: &[ConnectionRow]) -> String {
    if rows.is_empty() {
        return "No connection goes through the proxy.".to_owned();
    }
    let now = Timestamp::now();
    table(["FROM", "TO", "SERVICE", "VIA", "SENT", "RECEIVED", "AGE"], rows.iter().map(|r| row(r, now)))
}

fn row(row: &ConnectionRow, now: Timestamp) -> [String; 7] {
    let named = |workload: &Option<_>, address: String| match workload {
        Some(workload) => format!("{workload}\n{address}"),
        None => address,
    };
    [
        named(&row.client_workload, row.client.to_string()),
        named(&row.upstream_workload, or_dash(row.upstream)),
        named(&row.service, or_dash(row.original_dst)),
        format!("{}\n{}", via(row), row.stage),
        bytes(row.bytes_sent),
        bytes(row.bytes_received),
        age(row.started, now),
    ]
}

/// `outbound, wire`
fn via(row: &ConnectionRow) -> String {
    let ConnectionRow { direction, via, .. } = row;
    via.as_ref().map_or_else(|| direction.clone(), |via| format!("{direction}, {via}"))
}

/// `1h 5m 3s`
fn age(started: Timestamp, now: Timestamp) -> String {
    let round = SpanRound::new().largest(Unit::Hour).smallest(Unit::Second);
    match (now - started).round(round) {
        Ok(span) => format!("{span:#}"),
        Err(_) => "-".to_owned(),
    }
}
