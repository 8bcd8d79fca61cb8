//! Finds an agent that is alive but stuck: the canary asks the proxy, and as long as it answers, keeps up the pulse by
//! which the eBPF programs know that the agent lives.
//!
//! A stopped process keeps its listeners, and the kernel goes on completing handshakes for it. But its pulse runs
//! out, and then new connections are refused, or go direct, as if the agent were dead. When the proxy answers again
//! the pulse is back.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use capture::Pulse;
use proxy::Proxy;
use tracing::{info, warn};

use crate::tenure::Tenure;

/// One beat lasts for this many rounds: a round that is late now and then stops nothing.
const ROUNDS: u32 = 5;

/// The canary's own thread. It sings until the proxy is gone, or another agent is the writer.
#[derive(Debug)]
struct Canary {
    proxy: UnixStream,
    pulse: Pulse,
    dead_after: Duration,
    tenure: Tenure,
}

/// The agent counts as alive from now on, until the proxy has not answered for `dead_after`.
pub(crate) fn start(proxy: &Proxy, mut pulse: Pulse, dead_after: Duration, tenure: Tenure) -> Result<()> {
    pulse.beat(dead_after)?;
    let (ours, theirs) = pair().context("cannot make a socket pair for the canary")?;
    proxy.answer_canary(theirs);
    let canary = Canary { proxy: ours, pulse, dead_after, tenure };
    let spawned = thread::Builder::new().name("canary".to_owned()).spawn(move || canary.sing());
    spawned.context("cannot start the canary's thread")?;
    Ok(())
}

fn pair() -> io::Result<(UnixStream, tokio::net::UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    Ok((ours, tokio::net::UnixStream::from_std(theirs)?))
}

// === impl Canary ===

impl Canary {
    fn sing(mut self) {
        loop {
            match self.ask() {
                Ok(()) => {}
                // The runtime has ended, and the agent with it.
                Err(_) => return,
            }
            // From then on it is the next agent that is alive or not.
            if !self.tenure.holds() {
                return;
            }
            if let Err(error) = self.pulse.beat(self.dead_after) {
                warn!(%error, "The agent's pulse cannot be written: soon it will count as dead");
            }
            thread::sleep(self.dead_after / ROUNDS);
        }
    }

    /// Returns when the proxy has answered, however long it takes.
    fn ask(&mut self) -> io::Result<()> {
        let asked = Instant::now();
        self.proxy.write_all(&[1])?;
        self.proxy.set_read_timeout(Some(self.dead_after))?;
        let in_time = self.answer();
        if !matches!(&in_time, Err(e) if e.kind() == io::ErrorKind::WouldBlock) {
            return in_time;
        }
        warn!(
            after = ?self.dead_after,
            "The proxy does not answer its canary: until it does, pods meet what they meet while no agent runs"
        );
        self.proxy.set_read_timeout(None)?;
        self.answer()?;
        info!(after = ?asked.elapsed(), "The proxy answers its canary again");
        Ok(())
    }

    fn answer(&mut self) -> io::Result<()> {
        self.proxy.read_exact(&mut [0])
    }
}
