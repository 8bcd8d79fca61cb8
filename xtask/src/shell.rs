//! Running other programs, visibly.

use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// One line per step, so that a long wait has a name.
pub(crate) fn step(what: &str) {
    println!("==> {what}");
}

/// Runs a command that must succeed, after showing it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}`: {status}", spell(command));
    }
    Ok(())
}

/// Runs a command that must succeed, and shows what it says only if it does not.
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run `{}`", spell(command)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}`: {}: {}", spell(command), output.status, said.trim());
    Ok(())
}

/// What a command that must succeed prints; it complains to the terminal itself.
pub(crate) fn answer(command: &mut Command) -> Result<String> {
    println!("    $ {}", spell(command));
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run `{}`", spell(command)))?;
    ensure!(output.status.success(), "`{}`: {}", spell(command), output.status);
    String::from_utf8(output.stdout).with_context(|| format!("`{}`", spell(command)))
}

/// Runs a command after showing it; how it ends is the caller's business.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus> {
    println!("    $ {}", spell(command));
    command.status().with_context(|| format!("cannot run `{}`", spell(command)))
}

/// What a command prints, or `None` when it cannot run or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

/// The command as it would be typed.
fn spell(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut words = vec![program.file_name().unwrap_or(program.as_os_str()).to_string_lossy()];
    words.extend(command.get_args().map(std::ffi::OsStr::to_string_lossy));
    words.join(" ")
}
