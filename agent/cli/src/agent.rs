//! `millstream agent`

use std::path::PathBuf;

use anyhow::Result;
use app::{agent::Options, logging};

use crate::{Outcome, args::AgentOptions};

pub(crate) fn run(options: AgentOptions, run_dir: PathBuf) -> Result<Outcome> {
    let AgentOptions { source, node, config, log_json } = options;
    let log = logging::start(log_json)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(app::agent::run(Options { source, node, run_dir, config }, log))?;
    Ok(Outcome::Fine)
}
