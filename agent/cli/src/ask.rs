//! Asks the agent, or does without it.

use anyhow::{Result, bail};
use app::{
    api::Request,
    client::{self, Asked},
    run_dir::RunDir,
};
use serde::de::DeserializeOwned;

/// The agent's answer, or what can be said while it is down.
pub(crate) fn ask<T: DeserializeOwned>(
    run_dir: &RunDir,
    request: &Request,
    when_down: impl FnOnce() -> Result<T>,
) -> Result<T> {
    match client::ask(run_dir, request)? {
        Asked::Answer(answer) => Ok(answer),
        Asked::Refused(why) => bail!(why),
        Asked::Down => when_down(),
    }
}
