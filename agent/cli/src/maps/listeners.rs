//! `millstream maps listeners`

use anyhow::Result;
use app::{
    answers::word,
    api::{ListenerRow, Request},
    offline::Offline,
    run_dir::RunDir,
};

use crate::{
    ask::ask,
    block_on,
    output::{Format, print, table},
};

pub(super) fn run(run_dir: &RunDir, format: Format) -> Result<()> {
    let offline = || Ok(block_on(Offline::open(run_dir))??.listeners());
    let rows: Vec<ListenerRow> = ask(run_dir, &Request::Listeners, offline)?;
    print(format, &rows, |rows| {
        table(["ADDRESS", "PORT", "KIND", "SERVICE", "ENDPOINT BY"], rows.iter().map(row))
    })
}

fn row(row: &ListenerRow) -> [String; 5] {
    let ListenerRow { address, port, kind, namespace, service, discovery } = row;
    [address.clone(), port.to_string(), word(kind), format!("{namespace}/{service}"), discovery.clone()]
}
