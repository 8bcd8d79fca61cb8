//! `millstream-cni`: lets a pod start when the agent has captured it, and changes nothing itself.
//!
//! Last in the chain. It keeps no state and no credentials: all it knows comes from the runtime, from the agent of its
//! node and from one file. What it prints is the protocol, so what it has to say otherwise goes to standard error.
#![forbid(unsafe_code)]

use std::{
    env,
    io::{self, Read as _, Write as _},
    process::ExitCode,
};

mod call;
mod commands;
mod failure;
mod version;

use self::{commands::Command, failure::Failure};

fn main() -> ExitCode {
    let (printed, exit) = match run() {
        Ok(printed) => (printed, ExitCode::SUCCESS),
        Err(failure) => (failure.json(), ExitCode::FAILURE),
    };
    let mut stdout = io::stdout().lock();
    // `println!` would panic where nobody listens.
    match stdout.write_all(printed.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => exit,
        Err(_nobody_listens) => ExitCode::FAILURE,
    }
}

/// What is to be printed.
fn run() -> Result<String, Failure> {
    let command = env::var("CNI_COMMAND").unwrap_or_default();
    let command = Command::of(&command)?;
    match command {
        Command::Version => Ok(commands::version()),
        // A pod that cannot be deleted helps nobody, and there is nothing to take back but what the kernel took back
        // with the namespace: whatever is on standard input, it succeeds.
        Command::Del | Command::Gc => Ok(String::new()),
        Command::Add => commands::add(&stdin()?),
        Command::Check => commands::check(&stdin()?),
        Command::Status => commands::status(&stdin()?),
    }
}

fn stdin() -> Result<String, Failure> {
    let mut text = String::new();
    io::stdin().lock().read_to_string(&mut text).map_err(|error| Failure::unreadable(&error))?;
    Ok(text)
}
