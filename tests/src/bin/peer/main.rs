//! `peer`: the servers and clients that tests run inside pods.
//!
//! Everything it tells is a line of JSON on standard output: a server says `ready` when it listens, a client
//! says `connected` or `failed`, so that nobody has to sleep.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod dial;
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
    /// Open one connection
    Dial(dial::Args),
    /// Open short connections until standard input ends
    Load(load::Args),
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Dial(args) => dial::run(&args),
        Command::Load(args) => load::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            failed.say();
            ExitCode::FAILURE
        }
    }
}
