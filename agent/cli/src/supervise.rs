//! `millstream supervise`: the first process of the container. It outlives a crash of the agent, so that the kubelet's
//! restart back-off, which grows to five minutes, never decides how long the pods of a node are refused.

use std::{
    env,
    ffi::OsString,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use app::logging;
use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
    },
    unistd::{Pid, getpid, getppid},
};
use tracing::{error, info, warn};

use crate::Outcome;

/// Tells the agent which process is its supervisor.
const SUPERVISOR: &str = "MILLSTREAM_SUPERVISOR";

/// Tells it how often it has crashed in a row.
pub(crate) const CRASHES: &str = "MILLSTREAM_CRASHES";

/// What a Rust program exits with that panicked.
const PANICKED: i32 = 101;

/// An agent that ends itself sooner has been told something that it cannot work with: to start it again would only hide
/// that from the kubelet.
const SETTLED: Duration = Duration::from_secs(10);

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// After so long without a crash the next pause is the shortest again.
const CALM: Duration = Duration::from_secs(60);

/// And after so long the next crash is the first: longer than an agent that has crashed leaves another alone.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// What to do when the agent has ended.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Again,
    End(i32),
}

pub(crate) fn run(command: &[OsString]) -> Result<Outcome> {
    logging::start(command.iter().any(|word| word == "--log-json"))?;
    // Before the first child, whose end would otherwise be missed.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD]);
    signals.thread_block().context("cannot block signals")?;
    let mut pause = SHORTEST_PAUSE;
    let mut crashes = 0;
    loop {
        let begun = Instant::now();
        let (status, was_told) = watch(start(command, crashes)?, &signals)?;
        match next(status, begun.elapsed(), was_told) {
            Next::End(code) => std::process::exit(code),
            Next::Again => {
                error!(%status, after = ?begun.elapsed(), "The agent has crashed; it is started again");
            }
        }
        crashes = if FORGOTTEN < begun.elapsed() { 1 } else { crashes + 1 };
        pause = if CALM < begun.elapsed() { SHORTEST_PAUSE } else { pause };
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// For the agent: ends with its supervisor, which may be killed and then cannot tell it.
pub(crate) fn follow_supervisor() -> Result<()> {
    let Some(supervisor) = env::var(SUPERVISOR).ok().and_then(|pid| pid.parse().ok()).map(Pid::from_raw)
    else {
        return Ok(());
    };
    // The supervisor waits for signals, so it has them blocked, and a child inherits that.
    SigSet::all().thread_unblock().context("cannot unblock signals")?;
    prctl::set_pdeathsig(Signal::SIGKILL).context("cannot follow the supervisor")?;
    if getppid() != supervisor {
        warn!("The supervisor has ended already");
        std::process::exit(1);
    }
    Ok(())
}

fn start(command: &[OsString], crashes: u32) -> Result<Child> {
    let mut agent = Command::new("/proc/self/exe");
    agent.arg0("millstream").args(command);
    agent.env(SUPERVISOR, getpid().to_string()).env(CRASHES, crashes.to_string());
    agent.spawn().context("cannot start the agent (/proc/self/exe)")
}

/// Passes signals on until the child has ended; also whether one of them told it to.
fn watch(mut child: Child, signals: &SigSet) -> Result<(ExitStatus, bool)> {
    let pid = Pid::from_raw(i32::try_from(child.id()).context("no PID")?);
    let mut was_told = false;
    loop {
        let signal = signals.wait().context("cannot wait for signals")?;
        if let Some(status) = child.try_wait().context("cannot wait for the agent")? {
            return Ok((status, was_told));
        }
        if signal != Signal::SIGCHLD {
            was_told |= signal != Signal::SIGHUP;
            info!(%signal, "Passed on to the agent");
            kill(pid, signal).context("cannot signal the agent")?;
        }
    }
}

fn next(status: ExitStatus, lived: Duration, was_told: bool) -> Next {
    match (status.code(), was_told) {
        (code, true) => Next::End(code.unwrap_or_else(|| 128 + status.signal().unwrap_or_default())),
        (None | Some(PANICKED), false) => Next::Again,
        (Some(code), false) if code == 0 || lived < SETTLED => Next::End(code),
        (Some(_), false) => Next::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_mended_and_a_mistake_is_shown() {
        let (exit, killed) = (|code: i32| code << 8, |signal: i32| signal);
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(100));
        for (name, status, lived, was_told, expected) in [
            ("killed at once", killed(9), soon, false, Next::Again),
            ("killed for want of memory", killed(9), late, false, Next::Again),
            ("panicked", exit(101), soon, false, Next::Again),
            ("a configuration that makes no sense", exit(2), soon, false, Next::End(2)),
            ("something that was there is gone", exit(2), late, false, Next::Again),
            ("ended by itself", exit(0), late, false, Next::End(0)),
            ("told to end", exit(0), late, true, Next::End(0)),
            ("killed while it drained", killed(9), late, true, Next::End(137)),
        ] {
            assert_eq!(next(ExitStatus::from_raw(status), lived, was_told), expected, "{name}");
        }
    }
}
