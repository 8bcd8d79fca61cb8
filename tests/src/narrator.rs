//! What a demo tells: plain paragraphs, and commands with what they really print.
#![expect(clippy::print_stdout, reason = "a demo is what it prints")]

use anyhow::Result;

use crate::{Agent, Output};

pub fn title(text: &str) {
    println!("\n## {text}");
}

/// A paragraph.
pub fn say(text: &str) {
    println!("\n{text}");
}

/// Asks the command line on `node`.
pub fn millstream(node: &str, agent: &Agent, args: &[&str]) -> Result<()> {
    prompt(node, &format!("millstream {}", args.join(" ")));
    let output = agent.cli(args)?;
    show(&output);
    output.stdout().map(drop)
}

pub fn prompt(place: &str, command: &str) {
    println!("\n{place}$ {command}");
}

pub fn show(output: &Output) {
    for line in output.any_stdout().lines().chain(output.stderr.lines()) {
        println!("  {line}");
    }
}
