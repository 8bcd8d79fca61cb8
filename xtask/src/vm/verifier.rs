//! `cargo xtask vm verifier`: what the eBPF programs cost the verifiers of the kernels that we test, beside the table
//! that was committed last.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Guest, KERNELS, Settings};
use crate::{shell, workspace::Workspace};

const TABLE: &str = "tests/vm/VERIFIER.md";
const PREFACE: &str = "\
# What the eBPF programs cost the verifier

Instructions, as the kernel has rewritten them, and the steps that its verifier takes through all their paths; it gives
up after a million. Written by `cargo xtask vm verifier --write`; without `--write` it shows what has changed.

";

#[derive(Deserialize)]
struct Figures {
    program: String,
    instructions: u32,
    verifier_steps: u32,
}

/// Numbers of one kernel, by what they are of.
type Column = BTreeMap<String, u32>;

pub(super) fn run(workspace: &Workspace, write: bool) -> Result<()> {
    let path = workspace.root.join(TABLE);
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let columns = KERNELS.map(|release| {
        let mut guest = Guest::prepare(workspace, release, Settings::default())?;
        shell::step(&format!("load the programs on Linux {}", guest.kernel.version));
        let answer = guest.ask(&["millstream", "--output", "json", "programs"].map(str::to_owned))?;
        let figures: Vec<Figures> =
            serde_json::from_str(&answer).with_context(|| format!("`millstream programs`: {answer}"))?;
        Ok((release.to_string(), column(&figures)))
    });
    let columns = columns.into_iter().collect::<Result<Vec<_>>>()?;
    print!("{}", table(&columns, &read(&committed)));
    if write {
        let text = format!("{PREFACE}{}", table(&columns, &BTreeMap::new()));
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("    written to {TABLE}");
    }
    Ok(())
}

fn column(figures: &[Figures]) -> Column {
    let numbers = figures.iter().flat_map(|figures| {
        let Figures { program, instructions, verifier_steps } = figures;
        [(format!("{program}, instructions"), *instructions), (format!("{program}, steps"), *verifier_steps)]
    });
    numbers.collect()
}

/// With the difference to `before`, where there is one.
fn table(columns: &[(String, Column)], before: &BTreeMap<String, Column>) -> String {
    let rows: Vec<&String> = columns.first().map(|(_, column)| column.keys().collect()).unwrap_or_default();
    let mut text = String::from("| program |");
    for (kernel, _) in columns {
        let _infallible = write!(text, " {kernel} |");
    }
    let _infallible = write!(text, "\n| --- |{}\n", " ---: |".repeat(columns.len()));
    for row in rows {
        let _infallible = write!(text, "| {row} |");
        for (kernel, column) in columns {
            let now = column.get(row).copied().unwrap_or_default();
            let change = before.get(kernel).and_then(|column| column.get(row));
            let change = change.map_or(0, |before| i64::from(now) - i64::from(*before));
            let _infallible =
                if change == 0 { write!(text, " {now} |") } else { write!(text, " {now} ({change:+}) |") };
        }
        text.push('\n');
    }
    text
}

/// What [`table`] has written, by kernel.
fn read(text: &str) -> BTreeMap<String, Column> {
    let mut rows = text
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    let kernels = rows.next().unwrap_or_default();
    let mut columns = BTreeMap::<String, Column>::new();
    for row in rows {
        for (kernel, cell) in kernels.iter().zip(&row).skip(1) {
            if let Ok(number) = cell.parse() {
                columns.entry(kernel.clone()).or_default().insert(row[0].clone(), number);
            }
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kernel: &str, numbers: [(&str, u32); 2]) -> (String, Column) {
        (kernel.to_owned(), numbers.map(|(row, number)| (row.to_owned(), number)).into())
    }

    #[test]
    fn growth_is_seen_beside_what_was_committed() {
        let before = [
            of("6.1", [("guard, instructions", 10), ("guard, steps", 20)]),
            of("6.12", [("guard, instructions", 11), ("guard, steps", 21)]),
        ];
        let committed = format!("{PREFACE}{}", table(&before, &BTreeMap::new()));
        assert_eq!(read(&committed), before.clone().into());
        let now = [
            of("6.1", [("guard, instructions", 10), ("guard, steps", 25)]),
            of("6.12", [("guard, instructions", 11), ("guard, steps", 20)]),
        ];
        assert_eq!(
            table(&now, &read(&committed)),
            "| program | 6.1 | 6.12 |\n\
             | --- | ---: | ---: |\n\
             | guard, instructions | 10 | 11 |\n\
             | guard, steps | 25 (+5) | 20 (-1) |\n"
        );
    }
}
