//! `millstream agent`

use std::{env, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};
use app::{
    agent::{Ended, Options},
    logging,
    run_dir::RunDir,
    threads,
};

use capture::cgroup;

use crate::{Outcome, args::AgentOptions, supervise::follow_supervisor};

pub(crate) fn run(options: AgentOptions, run_dir: RunDir) -> Result<Outcome> {
    let AgentOptions { source, node, config, log_json, daemonset, instance, crashes } = options;
    memory::keep_small();
    let log = logging::start(log_json)?;
    follow_supervisor()?;
    cgroup::enter_node_namespace()?;
    let options = Options { source, node, run_dir, config, daemonset, instance, crashes };
    match threads::runtime()?.block_on(app::agent::run(options, log))? {
        Ended::Told => Ok(Outcome::Fine),
        Ended::Recalled => begin_anew(),
    }
}

/// The same program with the same arguments, and nothing of what was.
fn begin_anew() -> Result<Outcome> {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let error = Command::new("/proc/self/exe").arg0(name).args(arguments).exec();
    Err(error).context("cannot start the agent anew (/proc/self/exe)")
}
