//! Plain paragraphs, and commands with what they really print.

use std::time::Instant;

use anyhow::{Result, ensure};
use harness::{Agent, Output, Pod};

pub(crate) fn title(text: &str) {
    println!("\n## {text}");
}

/// A paragraph.
pub(crate) fn say(text: &str) {
    println!("\n{text}");
}

/// Asks the command line on the node.
pub(crate) fn millstream(agent: &Agent, args: &[&str]) -> Result<()> {
    println!("\nnode$ millstream {}", args.join(" "));
    let output = agent.cli(args)?;
    show(&output);
    output.stdout()?;
    Ok(())
}

/// Fetches a page from inside a pod.
pub(crate) fn curl(pod: &Pod, url: &str) -> Result<()> {
    let output = run_curl(pod, url)?;
    show(&output);
    output.stdout()?;
    Ok(())
}

/// Fetches a page that must not be had, and says how long the refusal took.
pub(crate) fn refused(pod: &Pod, url: &str) -> Result<()> {
    let start = Instant::now();
    let output = run_curl(pod, url)?;
    let elapsed = start.elapsed();
    show(&output);
    ensure!(!output.status.success(), "{url} answered, although nobody is there to forward");
    println!("  ({} ms, with the start of curl)", elapsed.as_millis());
    Ok(())
}

fn run_curl(pod: &Pod, url: &str) -> Result<Output> {
    println!("{}$ curl {url}", pod.name());
    pod.run(&["curl", "--silent", "--show-error", "--max-time", "10", url])
}

fn show(output: &Output) {
    for line in output.any_stdout().lines().chain(output.stderr.lines()) {
        println!("  {line}");
    }
}
