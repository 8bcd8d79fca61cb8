//! `millstream dns`

use anyhow::Result;
use app::{
    answers::word,
    api::{AllocationRow, AllocatorReport, Request},
    offline::Offline,
    run_dir::RunDir,
};

use crate::{
    Outcome,
    ask::ask,
    block_on,
    output::{Format, print, table},
};

pub(crate) fn allocations(run_dir: &RunDir, format: Format) -> Result<Outcome> {
    let offline = || Ok(block_on(Offline::open(run_dir))??.allocations());
    let rows: Vec<AllocationRow> = ask(run_dir, &Request::Allocations, offline)?;
    let said = said(run_dir);
    if format != Format::Table {
        said.iter().for_each(|line| eprintln!("{line}"));
    }
    print(format, &rows, |rows| {
        let table = table(["NAMESPACE", "HOST", "ADDRESSES", "BY", "FREED"], rows.iter().map(row));
        said.into_iter().chain([table]).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Outcome::Fine)
}

/// What the controller has to say of them, or why that is not known.
fn said(run_dir: &RunDir) -> Vec<String> {
    let report: Result<Option<AllocatorReport>> = ask(run_dir, &Request::Allocator, || Ok(None));
    match report {
        Ok(report) => report.map(|report| report.sentences()).unwrap_or_default(),
        Err(error) => vec![format!("what the controller says is not known: {error:#}")],
    }
}

fn row(row: &AllocationRow) -> [String; 5] {
    let AllocationRow { namespace, host, addresses, origin, freed } = row;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let freed = freed.clone().unwrap_or_else(|| "-".to_owned());
    [namespace.clone(), host.clone(), addresses.join("\n"), word(origin), freed]
}
