//! `cargo xtask lint`: everything that can be judged without running it.

use anyhow::{Result, bail, ensure};

use crate::{shell, workspace::Workspace};

mod tidy;

/// What is asked of the sources, in the order of how soon the answer comes.
type Check = (&'static str, fn(&Workspace) -> Result<()>);

const CHECKS: [Check; 4] = [
    ("tidy: sizes of files, arrows between crates, purity, documentation", tidy),
    ("format", format),
    ("licences and sources of the dependencies", dependencies),
    ("clippy", clippy),
];

/// Asks everything before it fails, so that one run tells all that is to be done.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut failures = Vec::new();
    for (name, check) in CHECKS {
        shell::step(name);
        if let Err(error) = check(workspace) {
            println!("    {error:#}");
            failures.push(name);
        }
    }
    ensure!(failures.is_empty(), "lint found fault: {}", failures.join("; "));
    Ok(())
}

fn tidy(workspace: &Workspace) -> Result<()> {
    let complaints = tidy::check(workspace)?;
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n    "));
    }
    Ok(())
}

fn format(workspace: &Workspace) -> Result<()> {
    let programs = workspace.root.join("ebpf/programs/Cargo.toml");
    shell::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    shell::run(workspace.cargo().args(["fmt", "--check", "--manifest-path"]).arg(&programs))
}

fn dependencies(workspace: &Workspace) -> Result<()> {
    if shell::output(workspace.cargo().args(["deny", "--version"])).is_none() {
        println!("    left out: cargo-deny is not installed (`cargo install cargo-deny --locked`)");
        return Ok(());
    }
    // Not `advisories`: a commit must not fail for the news of the day.
    let checks = ["deny", "--locked", "check", "bans", "licenses", "sources"];
    shell::run(workspace.cargo().args(checks))
}

fn clippy(workspace: &Workspace) -> Result<()> {
    let args = ["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny=warnings"];
    shell::run(workspace.cargo().args(args))
}
