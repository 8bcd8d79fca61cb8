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

/// How long one agent is asked whether it is the one.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) fn run(
    run_dir: &RunDir,
    format: Format,
    condition: &Condition,
    timeout: SignedDuration,
) -> Result<Outcome> {
    ensure!(!timeout.is_negative(), "--timeout must not be negative");
    let end = Instant::now().checked_add(timeout.unsigned_abs()).context("--timeout is too long")?;
    let condition = match condition {
        Condition::Ready { instance: None } => api::Condition::Ready,
        Condition::Ready { instance: Some(instance) } => api::Condition::ReadyIn(instance.clone()),
        Condition::Captured { pod } => api::Condition::Captured(pod.clone()),
        Condition::Released { pod } => api::Condition::Released(pod.clone()),
    };
    let waited = loop {
        let left = end.saturating_duration_since(Instant::now());
        // Who answers may be another agent than the one that is meant, and about to go.
        let is_particular = matches!(condition, api::Condition::ReadyIn(_));
        let timeout = if is_particular { left.min(LOOK) } else { left };
        let asked = ask(run_dir, &Request::Wait { condition: condition.clone(), timeout });
        let may_change = is_particular && !left.is_zero();
        match asked {
            Ok(Asked::Answer(Waited { met: false, .. })) | Err(_) if may_change => {}
            Ok(Asked::Answer(waited)) => break waited,
            Ok(Asked::Refused(found)) => break Waited { met: false, found },
            Ok(Asked::Down) if left.is_zero() => {
                break Waited { met: false, found: "the agent is down".to_owned() };
            }
            Ok(Asked::Down) => {}
            Err(e) => return Err(e),
        }
        sleep(KNOCK);
    };
    print(format, &waited, |waited| waited.found.clone())?;
    Ok(if waited.met { Outcome::Fine } else { Outcome::Bad })
}
