//! RESULTS.md: a chapter of each command, which the others leave as it is.

use std::{fs, io, path::Path};

use anyhow::{Context, Result};

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md");

/// In place of the chapter that has the same heading.
pub(crate) fn write(chapter: &str) -> Result<()> {
    let path = Path::new(RESULTS);
    let written = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| format!("cannot read {RESULTS}")),
    };
    fs::write(path, with_chapter(&written?, chapter)).with_context(|| format!("cannot write {RESULTS}"))
}

/// A new one comes last.
fn with_chapter(text: &str, chapter: &str) -> String {
    let heading = |chapter: &str| chapter.lines().next().map(str::to_owned);
    let mut chapters = chapters(text);
    match chapters.iter_mut().find(|known| heading(known) == heading(chapter)) {
        Some(known) => *known = chapter,
        None => chapters.push(chapter),
    }
    chapters.iter().map(|chapter| chapter.trim_end()).collect::<Vec<_>>().join("\n\n") + "\n"
}

/// Each from its heading of the first level. What stands in a fence is none.
fn chapters(text: &str) -> Vec<&str> {
    let mut begins = Vec::new();
    let (mut at, mut in_fence) = (0, false);
    for line in text.split_inclusive('\n') {
        if line.starts_with("```") {
            in_fence = !in_fence;
        }
        if line.starts_with("# ") && !in_fence {
            begins.push(at);
        }
        at += line.len();
    }
    let ends = begins.iter().skip(1).copied().chain([text.len()]);
    begins.iter().zip(ends).map(|(&begin, end)| &text[begin..end]).collect()
}

#[cfg(test)]
mod tests;
