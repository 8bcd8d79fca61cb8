//! `millstream agent`

use std::thread;

use anyhow::Result;
use app::{agent::Options, logging, run_dir::RunDir};

use crate::{Outcome, args::AgentOptions};

/// A pod has at most as many threads at work for its bulk traffic as there are processors. These are left for the
/// connections of others; which thread runs is then for the kernel to say, which is fair.
const MORE_THREADS: usize = 2;

pub(crate) fn run(options: AgentOptions, run_dir: RunDir) -> Result<Outcome> {
    let AgentOptions { source, node, config, log_json } = options;
    let log = logging::start(log_json)?;
    let threads = thread::available_parallelism()?.get() + MORE_THREADS;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(app::agent::run(Options { source, node, run_dir, config }, log))?;
    Ok(Outcome::Fine)
}
