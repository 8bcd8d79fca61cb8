//! Asks a running agent.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use capture::{Life, Pins, Pulse};
use serde::de::DeserializeOwned;

use crate::{
    api::{Reply, Request},
    run_dir::RunDir,
};

/// An agent answers in milliseconds; one that is stopped or stuck must not hang its operator.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same with an agent whose pulse has run out.
const PATIENCE_WITH_THE_SILENT: Duration = Duration::from_secs(1);

/// What came of asking.
#[derive(Debug)]
pub enum Asked<T> {
    Answer(T),
    /// The agent understood, and there is no such thing or it cannot be done.
    Refused(String),
    /// Nobody listens at the socket; or somebody does, but the agent counts as dead and does not answer.
    Down,
}

/// Asks, and reads the answer as `T`.
pub fn ask<T: DeserializeOwned>(run_dir: &RunDir, request: &Request) -> Result<Asked<T>> {
    let path = run_dir.socket();
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(Asked::Down);
        }
        Err(e) => return Err(e).with_context(|| format!("cannot reach the agent at {}", path.display())),
    };
    let is_silent = is_silent(run_dir);
    let patience = if is_silent { PATIENCE_WITH_THE_SILENT } else { PATIENCE };
    let reply = match converse(stream, request, patience) {
        Err(_) if is_silent => return Ok(Asked::Down),
        Err(e) if has_hung_up(&e) => return Ok(Asked::Down),
        reply => reply.with_context(|| {
            format!("the agent at {} does not answer; is it stopped or stuck?", path.display())
        })?,
    };
    match reply {
        Ok(answer) => serde_json::from_value(answer).map(Asked::Answer).map_err(|e| {
            anyhow!("the agent's answer cannot be read ({e}): are agent and command of one version?")
        }),
        Err(refused) => Ok(Asked::Refused(refused)),
    }
}

/// The agent counts as dead. Where that cannot be told, it is asked like any other.
fn is_silent(run_dir: &RunDir) -> bool {
    let life =
        run_dir.read().ok().and_then(|agent| Pulse::open(&Pins::of_node(&agent.node)).ok()?.life().ok());
    matches!(life, Some(Life::Silent(_)))
}

/// It has ended over the question.
fn has_hung_up(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(kind, Some(BrokenPipe | ConnectionReset | UnexpectedEof))
}

fn converse(mut stream: UnixStream, request: &Request, patience: Duration) -> Result<Reply> {
    let patience = match request {
        Request::Wait { timeout, .. } => *timeout + patience,
        _ => patience,
    };
    stream.set_read_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reply = String::new();
    if BufReader::new(stream).read_line(&mut reply)? == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(serde_json::from_str(&reply)?)
}
