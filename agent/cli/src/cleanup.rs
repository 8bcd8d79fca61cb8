//! `millstream cleanup`

use anyhow::{Context, Result, ensure};
use app::{run_dir::RunDir, tenure};
use capture::cleanup::{Cleaned, Outcome as CleanedTo, cleanup};
use cni::{
    entry::Entry,
    install::{entry_in, remove},
};
use serde::Serialize;

use crate::{
    Outcome,
    args::CleanupOptions,
    block_on,
    output::{Format, print, table},
};

#[derive(Serialize)]
struct Row {
    pod: String,
    ok: bool,
    outcome: String,
}

pub(crate) fn run(run_dir: &RunDir, format: Format, options: &CleanupOptions) -> Result<Outcome> {
    ensure!(
        !tenure::is_held(&run_dir.lock_file()),
        "the agent is running and would capture the pods again: stop it first"
    );
    // First: no new pod waits for an agent that will not come.
    let removed = remove_plugin(run_dir, options);
    let cleaned = clean_pods(run_dir, format);
    removed?;
    cleaned
}

fn remove_plugin(run_dir: &RunDir, options: &CleanupOptions) -> Result<()> {
    let CleanupOptions { cni_conf_dir, cni_bin_dir } = options;
    let is_ours = |entry: &Entry| entry.run_dir == run_dir.path();
    let Some(entry) = entry_in(cni_conf_dir)?.filter(is_ours) else {
        return Ok(());
    };
    remove(cni_conf_dir, cni_bin_dir, &entry.state_dir).context("cannot remove the CNI plugin")?;
    eprintln!("The CNI plugin is out of the chain in {}.", cni_conf_dir.display());
    Ok(())
}

fn clean_pods(run_dir: &RunDir, format: Format) -> Result<Outcome> {
    let agent = match run_dir.read() {
        Ok(agent) => agent,
        Err(nothing) => {
            eprintln!("No pod to clean up: {nothing:#}.");
            return Ok(Outcome::Fine);
        }
    };
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
