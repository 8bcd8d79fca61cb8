//! `millstream log`

use anyhow::{Result, bail};
use app::{api::Request, run_dir::RunDir};

use crate::{Outcome, ask::ask};

pub(crate) fn run(run_dir: &RunDir, filter: String) -> Result<Outcome> {
    let nobody = || bail!("the agent is down: start it with RUST_LOG set instead");
    let filter: String = ask(run_dir, &Request::Log { filter }, nobody)?;
    println!("The agent logs {filter}.");
    Ok(Outcome::Fine)
}
