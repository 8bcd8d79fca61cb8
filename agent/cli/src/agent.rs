//! `millstream agent`

use anyhow::Result;
use app::{agent::Options, logging, run_dir::RunDir, threads};

use crate::{Outcome, args::AgentOptions};

pub(crate) fn run(options: AgentOptions, run_dir: RunDir) -> Result<Outcome> {
    let AgentOptions { source, node, config, log_json } = options;
    let log = logging::start(log_json)?;
    threads::runtime()?.block_on(app::agent::run(Options { source, node, run_dir, config }, log))?;
    Ok(Outcome::Fine)
}
