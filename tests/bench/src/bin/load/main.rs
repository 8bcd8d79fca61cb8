//! `load`: the clients and servers of the bench. Threads with blocking sockets, so that what is measured is the way
//! between them.
//!
//! A server says `ready` when it listens and runs until it is killed. A client prints one line of JSON when its time is
//! over.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool tells what it does")]

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

mod ask;
mod client;
mod latencies;
mod serve;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Accept connections until killed
    Serve {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long, value_enum)]
        mode: serve::Mode,
        /// How many connections a server of mode `answer` has in hand at once
        #[arg(long, default_value_t = 1)]
        threads: usize,
    },
    /// Send as fast as it goes
    Bulk {
        addr: SocketAddr,
        #[arg(long, default_value_t = 1)]
        streams: usize,
        #[arg(long)]
        seconds: u64,
    },
    /// 64 bytes to and fro over one connection
    Ping {
        addr: SocketAddr,
        #[arg(long)]
        seconds: u64,
        /// `SO_BINDTODEVICE`
        #[arg(long)]
        device: Option<String>,
    },
    /// A connection, 64 bytes each way, its end, and again
    Connect {
        addr: SocketAddr,
        #[arg(long, default_value_t = 1)]
        clients: usize,
        #[arg(long)]
        seconds: u64,
    },
    /// A DNS query for the IPv4 addresses of a name over UDP, its reply, and again
    Ask {
        addr: SocketAddr,
        #[arg(long)]
        name: String,
        /// How many wait for their reply at once
        #[arg(long, default_value_t = 1)]
        in_flight: usize,
        #[arg(long)]
        seconds: u64,
    },
    /// Open connections, say `ready`, and keep them until standard input ends
    Idle {
        addr: SocketAddr,
        #[arg(long)]
        count: usize,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    match command {
        Command::Serve { listen, mode, threads } => serve::serve(listen, mode, threads),
        Command::Bulk { addr, streams, seconds } => client::bulk(addr, streams, seconds),
        Command::Ping { addr, seconds, device } => client::ping(addr, seconds, device.as_deref()),
        Command::Connect { addr, clients, seconds } => client::connect(addr, clients, seconds),
        Command::Ask { addr, name, in_flight, seconds } => ask::ask(addr, &name, in_flight, seconds),
        Command::Idle { addr, count } => client::idle(addr, count),
    }
}
