//! Many connections from a pod at once: a handle to `peer crowd`.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Pod, Process, peer::program, process::Io};

/// The connections of one program, until dropped.
#[derive(Debug)]
pub struct Crowd(Process);

/// What has become of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub open: usize,
    /// By call and error: `read ECONNRESET`.
    pub failures: BTreeMap<String, u64>,
}

/// Thousands of connections take a while on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);

// === impl Crowd ===

impl Crowd {
    pub(crate) fn start(pod: &Pod, addr: SocketAddr, connections: usize, args: &[&str]) -> Result<Self> {
        let mut command = pod.command(&[program()?])?;
        command
            .arg("crowd")
            .arg(addr.to_string())
            .arg("--connections")
            .arg(connections.to_string())
            .args(args);
        Ok(Self::of(pod.start(command, Io::Piped)?))
    }

    /// Of a `peer crowd` that runs already.
    pub fn of(process: Process) -> Self {
        Self(process)
    }

    /// Waits until each connection is open or has failed.
    pub fn standing(&mut self) -> Result<Count> {
        self.event("standing")
    }

    /// Has each connection send a byte and wait for its echo.
    pub fn exchange(&mut self) -> Result<Count> {
        self.0.send("")?;
        self.event("exchanged")
    }

    /// Ends them all in good order.
    pub fn end(mut self) -> Result<Count> {
        self.0.close_stdin();
        self.event("ended")
    }

    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    fn event(&mut self, expected: &str) -> Result<Count> {
        let said = self.0.json(PATIENCE)?;
        ensure!(said["event"] == expected, "instead of {expected:?} the crowd said {said}");
        Count::parse(&said).with_context(|| format!("the crowd said {said}"))
    }
}

// === impl Count ===

impl Count {
    /// So many, and no failure.
    pub fn all(open: usize) -> Self {
        Self { open, failures: BTreeMap::new() }
    }

    fn parse(said: &Value) -> Option<Self> {
        let failures = said["failures"].as_object()?.iter();
        let failures = failures.map(|(name, count)| Some((name.clone(), count.as_u64()?)));
        Some(Self {
            open: usize::try_from(said["open"].as_u64()?).ok()?,
            failures: failures.collect::<Option<_>>()?,
        })
    }
}
