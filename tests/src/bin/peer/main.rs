//! `peer`: the servers and clients that tests run inside pods.
//!
//! Everything it tells is a line of JSON on standard output: a server says `ready` when it listens, a client
//! says `connected` or `failed`, so that nobody has to sleep.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

mod crowd;
mod dial;
mod dialler;
mod dns;
mod load;
mod pattern;
mod say;
mod serve;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Accept connections until killed
    Serve(serve::Args),
    /// Answer queries for addresses until killed
    Dns(dns::Args),
    /// Open one connection
    Dial(dial::Args),
    /// Dial when told to, under another name
    Dialler(dialler::Args),
    /// Open short connections, one after the other
    Load(load::Args),
    /// Open many connections and hold them until standard input ends
    Crowd(crowd::Args),
}

fn main() -> ExitCode {
    raise_file_limit();
    let done = match Args::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Dns(args) => dns::run(&args),
        Command::Dial(args) => dial::run(&args),
        Command::Dialler(args) => dialler::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Crowd(args) => crowd::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            failed.say();
            ExitCode::FAILURE
        }
    }
}

/// A crowd needs more files than a process may open by default. Where it may not, whoever runs short will say so.
fn raise_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
