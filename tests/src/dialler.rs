//! A process that lives on and dials when it is told to, under any name and anywhere: what a kubelet is, seen from a pod.

use std::{ffi::OsStr, net::SocketAddr};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{Connected, Place, Process, peer, place::PATIENCE, process::Io};

/// It runs until dropped.
#[derive(Debug)]
pub struct Dialler(Process);

// === impl Dialler ===

impl Dialler {
    /// `under` is the command that it is run by, if any: `setpriv …`.
    pub fn start(place: &Place, name: &str, under: &[&str]) -> Result<Self> {
        let program = peer::program()?;
        let words: Vec<&OsStr> = under.iter().map(OsStr::new).chain([program.as_os_str()]).collect();
        let mut command = place.command(&words)?;
        command.args(["dialler", name]);
        let mut dialler = Self(place.start(command, Io::Piped)?);
        dialler.expect("ready")?;
        Ok(dialler)
    }

    pub fn dial(&mut self, addr: impl Into<SocketAddr>) -> Result<Connected> {
        self.dial_from(0, addr)
    }

    /// From that source port.
    pub fn dial_from(&mut self, port: u16, addr: impl Into<SocketAddr>) -> Result<Connected> {
        self.0.send(&format!("dial {} {port}", addr.into()))?;
        Connected::told(&self.0.json(PATIENCE)?)
    }

    /// Over the connection that was dialled last.
    pub fn ping(&mut self) -> Result<()> {
        self.0.send("ping hello")?;
        self.expect("echoed")
    }

    /// Resets the connection that was dialled last.
    pub fn close(&mut self) -> Result<()> {
        self.0.send("close")?;
        self.expect("closed")
    }

    pub fn process(&self) -> &Process {
        &self.0
    }

    fn expect(&mut self, event: &str) -> Result<()> {
        let said: Value = self.0.json(PATIENCE)?;
        ensure!(said["event"] == event, "instead of {event}: {said}");
        Ok(())
    }
}
