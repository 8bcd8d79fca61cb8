//! `millstream dns`

use anyhow::Result;
use app::{
    answers::word,
    api::{AllocationRow, Request},
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
    print(format, &rows, |rows| {
        table(["NAMESPACE", "HOST", "ADDRESSES", "BY", "FREED"], rows.iter().map(row))
    })?;
    Ok(Outcome::Fine)
}

fn row(row: &AllocationRow) -> [String; 5] {
    let AllocationRow { namespace, host, addresses, origin, freed } = row;
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let freed = freed.clone().unwrap_or_else(|| "-".to_owned());
    [namespace.clone(), host.clone(), addresses.join("\n"), word(origin), freed]
}
