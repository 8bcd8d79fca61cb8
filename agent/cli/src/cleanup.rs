//! `millstream cleanup`

use anyhow::{Context, Result, ensure};
use app::{run_dir::RunDir, tenure};
use capture::cleanup::{Cleaned, Outcome as CleanedTo, cleanup};
use serde::Serialize;

use crate::{
    Outcome, block_on,
    output::{Format, print, table},
};

#[derive(Serialize)]
struct Row {
    pod: String,
    ok: bool,
    outcome: String,
}

pub(crate) fn run(run_dir: &RunDir, format: Format) -> Result<Outcome> {
    let agent = match run_dir.read() {
        Ok(agent) => agent,
        Err(nothing) => {
            eprintln!("Nothing to clean up: {nothing:#}.");
            return Ok(Outcome::Fine);
        }
    };
    ensure!(
        !tenure::is_held(&run_dir.lock_file()),
        "the agent (PID {}) is running and would capture the pods again: stop it first",
        agent.pid
    );
    let cleaned = block_on(cleanup(&agent.capture_config(run_dir), &agent.node))?.context("clean-up")?;
    let rows: Vec<Row> = cleaned.iter().map(row).collect();
    let all_well = rows.iter().all(|row| row.ok);
    if all_well {
        run_dir.remove()?;
    }
    print(format, &rows, |rows| text(rows, &agent.node))?;
    Ok(if all_well { Outcome::Fine } else { Outcome::Bad })
}

fn text(rows: &[Row], node: &str) -> String {
    let left = if rows.iter().all(|row| row.ok) {
        format!("Nothing of the agent of node {node} is left.")
    } else {
        "What failed is kept in the journal: run this again once the cause is gone.".to_owned()
    };
    if rows.is_empty() {
        return left;
    }
    let rows = rows.iter().map(|row| [row.pod.clone(), row.outcome.clone()]);
    format!("{}\n\n{left}", table(["POD", "OUTCOME"], rows))
}

fn row(cleaned: &Cleaned) -> Row {
    let (ok, outcome) = match &cleaned.outcome {
        CleanedTo::Restored { changes } => (true, format!("restored: {changes} changes undone")),
        CleanedTo::Gone => (true, "its network namespace is gone".to_owned()),
        CleanedTo::Failed(e) => (false, format!("failed: {}", chain(e))),
    };
    Row { pod: cleaned.pod.to_string(), ok, outcome }
}

fn chain(e: &dyn std::error::Error) -> String {
    match e.source() {
        Some(source) => format!("{e}: {}", chain(source)),
        None => e.to_string(),
    }
}
