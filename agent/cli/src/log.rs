//! `millstream log`

use anyhow::{Result, bail};
use app::{
    api::Request,
    client::{Asked, ask},
    run_dir::RunDir,
};

use crate::Outcome;

pub(crate) fn run(run_dir: &RunDir, filter: String) -> Result<Outcome> {
    match ask::<String>(run_dir, &Request::Log { filter })? {
        Asked::Answer(filter) => println!("The agent logs {filter}."),
        Asked::Refused(why) => bail!(why),
        Asked::Down => bail!("the agent is down: start it with RUST_LOG set instead"),
    }
    Ok(Outcome::Fine)
}
