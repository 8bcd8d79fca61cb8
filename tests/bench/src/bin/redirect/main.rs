//! `redirect`: what Millstream replaces. One proxy for all pods, as there, with the very copy code of `agent/proxy`; but
//! connections come to its listeners by REDIRECT, at the client's side and again at the server's, and the original
//! destination is what conntrack remembers.
// The tests of the sources that it borrows are the proxy's, and are only found there.
#![cfg(not(test))]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool tells what it does")]

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use clap::Parser;
use netns::Netns;

use crate::buffer::Pool;

mod hop;

// The sources of the proxy, and not a likeness. It exports none of them: nobody but this baseline has a use for a copy
// without the rest. (Formatted where they belong; from here rustfmt would look for their tests in the wrong place.)
#[path = "../../../../../agent/proxy/src/buffer.rs"]
#[rustfmt::skip]
mod buffer;
mod copy;
#[path = "../../../../../agent/proxy/src/end.rs"]
#[rustfmt::skip]
mod end;
mod failure;
#[expect(dead_code, reason = "a copy needs only a part of it")]
#[path = "../../../../../agent/proxy/src/lock.rs"]
#[rustfmt::skip]
mod lock;
#[expect(dead_code, reason = "a copy needs only a part of it")]
#[path = "../../../../../agent/proxy/src/meter.rs"]
#[rustfmt::skip]
mod meter;
#[expect(dead_code, reason = "a copy needs only a part of it")]
#[path = "../../../../../agent/proxy/src/stream.rs"]
#[rustfmt::skip]
mod stream;

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

/// The agent's limit.
const MAX_BUFFER_BYTES: usize = 256 << 20;

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
    let pool = Arc::new(Pool::new(MAX_BUFFER_BYTES));
    runtime.block_on(async {
        for path in &args.netns {
            let netns = Arc::new(Netns::open(path)?);
            for port in [args.outbound, args.inbound] {
                let hop = hop::Hop { netns: Arc::clone(&netns), mark: args.mark, pool: Arc::clone(&pool) };
                let listener =
                    hop.listen(port).with_context(|| format!("port {port} in {}", path.display()))?;
                tokio::spawn(Arc::new(hop).accept(listener));
            }
        }
        println!("ready");
        std::future::pending().await
    })
}
