//! `redirect`: what Millstream replaces. One proxy for all pods, as there, with the very copy code of `agent/proxy`; but
//! connections come to its listeners by REDIRECT, at the client's side and again at the server's, and the original
//! destination is what conntrack remembers.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool tells what it does")]

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use clap::Parser;
use netns::Netns;
use proxy::{Limits, Relay};

mod hop;

/// Listens in network namespaces whose rules redirect to it, until it is killed.
#[derive(Parser)]
struct Args {
    /// Where connections are redirected to that leave the namespace
    #[arg(long)]
    outbound: u16,
    /// Where connections are redirected to that enter it
    #[arg(long)]
    inbound: u16,
    /// The mark by which the rules know our own connections
    #[arg(long)]
    mark: u32,
    /// The namespaces
    #[arg(required = true)]
    netns: Vec<PathBuf>,
}

/// As many as the agent may open on this machine.
const FILES: u64 = 20_000;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    // As the agent's own.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let relay = Arc::new(Relay::new(&Limits::for_files(FILES)));
    runtime.block_on(async {
        for path in &args.netns {
            let netns = Arc::new(Netns::open(path)?);
            for port in [args.outbound, args.inbound] {
                let hop = hop::Hop { netns: Arc::clone(&netns), mark: args.mark, relay: Arc::clone(&relay) };
                let listener =
                    hop.listen(port).with_context(|| format!("port {port} in {}", path.display()))?;
                tokio::spawn(Arc::new(hop).accept(listener));
            }
        }
        println!("ready");
        std::future::pending().await
    })
}
