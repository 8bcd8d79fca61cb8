//! `millstream wait`

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use app::{
    api::{self, Request, Waited},
    client::{Asked, ask},
    run_dir::RunDir,
};
use jiff::SignedDuration;

use crate::{
    Outcome,
    args::Condition,
    output::{Format, print},
};

/// Between tries while no agent listens. Nothing announces a socket that is not there yet.
const KNOCK: Duration = Duration::from_millis(20);

pub(crate) fn run(
    run_dir: &RunDir,
    format: Format,
    condition: &Condition,
    timeout: SignedDuration,
) -> Result<Outcome> {
    ensure!(!timeout.is_negative(), "--timeout must not be negative");
    let end = Instant::now().checked_add(timeout.unsigned_abs()).context("--timeout is too long")?;
    let condition = match condition {
        Condition::Ready => api::Condition::Ready,
        Condition::Captured { pod } => api::Condition::Captured(pod.clone()),
        Condition::Released { pod } => api::Condition::Released(pod.clone()),
    };
    let waited = loop {
        let left = end.saturating_duration_since(Instant::now());
        match ask(run_dir, &Request::Wait { condition: condition.clone(), timeout: left })? {
            Asked::Answer(waited) => break waited,
            Asked::Refused(found) => break Waited { met: false, found },
            Asked::Down if left.is_zero() => {
                break Waited { met: false, found: "the agent is down".to_owned() };
            }
            Asked::Down => sleep(KNOCK),
        }
    };
    print(format, &waited, |waited| waited.found.clone())?;
    Ok(if waited.met { Outcome::Fine } else { Outcome::Bad })
}
