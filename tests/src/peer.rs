//! Servers and clients inside pods: handles to the program `peer` (src/bin/peer).

use std::{env, ffi::OsStr, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;

use crate::{
    Pod, Process,
    place::PATIENCE,
    process::{Io, Output},
};

/// What a server does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Sends back what it gets, and ends when the client ends.
    Echo,
    /// The same for thousands of clients, of which it tells nothing.
    Crowd,
    /// Answers HTTP with its name, the path, and the address of the client as it sees it.
    Http,
    /// Speaks first, then echoes.
    Hello,
    /// Takes everything, and at the end answers with how much and whether it was intact.
    Sink,
    /// Sends a stream of known bytes, then ends.
    Source,
    /// Reads a little, then resets.
    Reset,
    /// Reads slower than anybody sends.
    SlowRead,
    /// Greets, ends its own direction at once, and goes on reading.
    HalfClose,
}

/// A server in a pod, until dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    addr: SocketAddr,
}

/// A client in a pod, until dropped.
#[derive(Debug)]
pub struct Client(Process);

/// Many short connections from a pod, until stopped.
#[derive(Debug)]
pub struct Load(Process);

/// How a client's `connect` ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Connected {
    /// Both ends of the connection as the client sees them.
    Yes { local: SocketAddr, remote: SocketAddr, elapsed: Duration },
    /// The name of the error number, e.g. `ECONNREFUSED`.
    No { error: String, elapsed: Duration },
}

/// The program `peer`: built with the tests, found beside them.
pub fn program() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let dirs = own.ancestors().skip(1).take(2);
    let mut candidates = dirs.map(|dir| dir.join("peer"));
    candidates.find(|path| path.is_file()).context("no program `peer` beside this one; build package harness")
}

// === impl Mode ===

impl fmt::Display for Mode {
    /// As the command line of `peer` spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no mode is hidden from the command line");
        f.write_str(value.get_name())
    }
}

// === impl Server ===

impl Server {
    pub(crate) fn start(pod: &Pod, mode: Mode, addr: SocketAddr, args: &[&str]) -> Result<Self> {
        let mut command = pod.command(&[program()?])?;
        command.args(["serve", "--name", pod.name(), "--mode"]).arg(mode.to_string()).arg("--listen");
        command.arg(addr.to_string()).args(args);
        let mut process = pod.start(command, Io::Piped)?;
        let ready = process.json(PATIENCE)?;
        ensure!(ready["event"] == "ready", "the server said {ready}");
        Ok(Self { process, addr: parse(&ready["address"])? })
    }

    /// Where it listens: with the port that the kernel chose if it was asked for port 0.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next thing that it tells: `accepted`, `closed`.
    pub fn event(&mut self) -> Result<Value> {
        self.process.json(PATIENCE)
    }

    /// Waits for a connection to be accepted; the address of the client as the server sees it.
    pub fn accepted(&mut self) -> Result<SocketAddr> {
        parse(&self.until("accepted")?["client"])
    }

    /// Waits for a connection to end; what was received, and how it ended.
    pub fn closed(&mut self) -> Result<Value> {
        self.until("closed")
    }

    /// Leaves it running with the standing lab.
    pub fn leave(self) {
        self.process.leave();
    }

    fn until(&mut self, event: &str) -> Result<Value> {
        loop {
            let said = self.event()?;
            if said["event"] == event {
                return Ok(said);
            }
        }
    }
}

// === impl Client ===

impl Client {
    /// `under` is the command that the client is run by, if any: `setpriv …`.
    pub(crate) fn start(pod: &Pod, under: &[&str], addr: SocketAddr, args: &[&str]) -> Result<Self> {
        let program = program()?;
        let words: Vec<&OsStr> = under.iter().map(OsStr::new).chain([program.as_os_str()]).collect();
        let mut command = pod.command(&words)?;
        command.arg("dial").arg(addr.to_string()).args(args);
        Ok(Self::of(pod.start(command, Io::Piped)?))
    }

    /// Of a `peer dial` that runs already.
    pub fn of(process: Process) -> Self {
        Self(process)
    }

    /// Waits for `connect` to end.
    pub fn connected(&mut self) -> Result<Connected> {
        Connected::told(&self.event()?)
    }

    /// The next thing that it tells.
    pub fn event(&mut self) -> Result<Value> {
        self.0.json(PATIENCE)
    }

    /// Sends a line over a connection of mode `hold` and waits for its echo.
    pub fn ping(&mut self, text: &str) -> Result<()> {
        self.0.send(text)?;
        let said = self.event()?;
        ensure!(said["event"] == "echoed" && said["text"] == text, "instead of an echo of {text:?}: {said}");
        Ok(())
    }

    /// Ends its side of the conversation and waits for its last words.
    pub fn finish(mut self) -> Result<Output> {
        self.0.close_stdin();
        self.0.wait(PATIENCE)
    }

    /// Ends its side of the conversation and waits for the last thing it tells.
    pub fn outcome(self) -> Result<Value> {
        let output = self.finish()?;
        let last = output.any_stdout().lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("the client said {last:?}; {}", output.stderr))
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.0
    }
}

// === impl Connected ===

impl Connected {
    pub(crate) fn told(said: &Value) -> Result<Self> {
        let elapsed = Duration::from_secs_f64(said["elapsed_ms"].as_f64().unwrap_or_default() / 1_000.0);
        match said["event"].as_str() {
            Some("connected") => {
                Ok(Self::Yes { local: parse(&said["local"])?, remote: parse(&said["remote"])?, elapsed })
            }
            Some("failed") => {
                Ok(Self::No { error: said["error"].as_str().unwrap_or_default().to_owned(), elapsed })
            }
            Some(_) | None => bail!("the client said {said}"),
        }
    }
}

// === impl Load ===

impl Load {
    pub(crate) fn start(pod: &Pod, addr: SocketAddr, args: &[&str]) -> Result<Self> {
        let mut command = pod.command(&[program()?])?;
        command.arg("load").arg(addr.to_string()).args(args);
        Self::of(pod.start(command, Io::Piped)?)
    }

    /// Of a `peer load` that was just started.
    pub fn of(mut process: Process) -> Result<Self> {
        let ready = process.json(PATIENCE)?;
        ensure!(ready["event"] == "ready", "the load said {ready}");
        Ok(Self(process))
    }

    /// Lets the connections that are open end; how many there were, and what failed.
    pub fn stop(mut self) -> Result<Value> {
        self.0.close_stdin();
        self.0.json(PATIENCE)
    }

    /// Waits until it has opened as many as `--count` says; the same numbers.
    pub fn outcome(mut self, patience: Duration) -> Result<Value> {
        self.0.json(patience)
    }
}

fn parse(addr: &Value) -> Result<SocketAddr> {
    let text = addr.as_str().with_context(|| format!("{addr} is no address"))?;
    text.parse().with_context(|| format!("{text:?} is no address"))
}
