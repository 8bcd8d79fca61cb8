//! Tables for eyes, JSON and YAML for programs.

use std::io::{self, Write};

use anyhow::{Context, Result};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
}

/// Where nothing says how wide the terminal is.
const WIDTH: u16 = 100;

/// Prints the value itself, or the table made of it.
pub(crate) fn print<T: Serialize>(format: Format, value: &T, table: impl FnOnce(&T) -> String) -> Result<()> {
    let text = match format {
        Format::Table => format!("{}\n", table(value)),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(value)?),
        Format::Yaml => serde_saphyr::to_string(value)?,
    };
    print_text(&text)
}

/// Prints it as it is.
pub(crate) fn print_text(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // `| head` has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print"),
    }
}

/// Columns under headings, without lines, as `kubectl` prints them.
pub(crate) fn table<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.set_header(headings);
    lay_out(table, rows)
}

/// What is told of one thing, a line or more each.
pub(crate) fn facts(rows: impl IntoIterator<Item = [String; 2]>) -> String {
    lay_out(Table::new(), rows)
}

fn lay_out<const N: usize>(mut table: Table, rows: impl IntoIterator<Item = [String; N]>) -> String {
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// `-` where there is nothing.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

/// `1.4 MiB`; IEC units, as counters of bytes are powers of two.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::{bytes, table};

    #[test]
    fn bytes_in_words() {
        for (count, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn columns_line_up_without_trailing_blanks() {
        let rows = [["web".to_owned(), "captured".to_owned()], ["a-longer-name".to_owned(), "no".to_owned()]];
        assert_eq!(
            table(["NAME", "STATE"], rows),
            "NAME           STATE\nweb            captured\na-longer-name  no"
        );
    }
}
