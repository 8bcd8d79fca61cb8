//! The agent that the DaemonSet keeps on a node, and its command line.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use harness::{Output, PATIENCE, millstream};
use serde_json::Value;

use crate::Node;

/// The agent of a node, whether it runs or not.
#[derive(Clone, Copy, Debug)]
pub struct NodeAgent<'a> {
    node: &'a Node,
}

/// How the first process of an agent's container was called.
const SUPERVISOR: &str = "^millstream supervise ";

/// On the node.
const METRICS: &str = "http://127.0.0.1:15020/metrics";

/// Where the kubelet keeps what the agents tell, those of a pod that is gone excepted.
const LOGS: &str = "cat /var/log/pods/millstream-system_*/agent/*.log";

/// Between questions to a node.
const ROUND: Duration = Duration::from_millis(10);

// === impl Node ===

impl Node {
    pub fn agent(&self) -> NodeAgent<'_> {
        NodeAgent { node: self }
    }
}

// === impl NodeAgent ===

impl NodeAgent<'_> {
    /// Runs `millstream ARGS` on the node.
    pub fn cli(&self, args: &[&str]) -> Result<Output> {
        let mut words = vec![millstream()?.into_os_string()];
        words.extend(args.iter().map(Into::into));
        self.node.run(&words)
    }

    /// The answer of a command in JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        self.cli(&[args, &["--output", "json"]].concat())?.json()
    }

    /// `millstream wait …`: fails with the log of the agent when that does not come true.
    pub fn wait(&self, what: &[&str]) -> Result<()> {
        let output = self.cli(&[&["wait"], what, &["--timeout", "60s"]].concat())?;
        if !output.status.success() {
            let said = format!("{}{}", output.any_stdout(), output.stderr);
            bail!("waited in vain for `{}`: {said}\nthe agent's log:\n{}", what.join(" "), self.log()?);
        }
        Ok(())
    }

    /// What it answers on its metrics port, asked on the node.
    pub fn metrics(&self) -> Result<String> {
        let ask = ["curl", "--silent", "--show-error", "--fail", "--max-time", "30", METRICS];
        Ok(self.node.run(&ask)?.stdout()?.to_owned())
    }

    /// All that the agents of this node have told, those whose pods are gone excepted.
    pub fn log(&self) -> Result<String> {
        let output = self.node.run(&["sh", "-c", LOGS])?;
        // As the container runtime writes it: time, stream, whether the line ends here, and what was told.
        let told = output.stdout()?.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or(line));
        Ok(told.map(|line| line.to_owned() + "\n").collect())
    }

    /// The process of the newest, as its node numbers it.
    pub fn pid(&self) -> Result<u64> {
        let told = self.node.run(&["cat", "/run/millstream/agent.json"])?.json()?;
        told["pid"].as_u64().with_context(|| format!("no PID in {told}"))
    }

    /// SIGKILL. Its supervisor is stopped first, so that nobody starts it again before [`Self::launch`].
    pub fn kill(&self) -> Result<()> {
        self.signal_supervisor("STOP")?;
        let pid = self.pid()?.to_string();
        self.node.run(&["kill", "-KILL", &pid])?.stdout()?;
        let deadline = Instant::now() + PATIENCE;
        // Nobody has taken note of its end yet.
        while !self.node.run(&["ps", "-o", "stat=", "-p", &pid])?.stdout()?.starts_with('Z') {
            ensure!(Instant::now() < deadline, "process {pid} outlives SIGKILL");
            thread::sleep(ROUND);
        }
        Ok(())
    }

    /// Has its supervisor start it again, and waits until it is ready.
    pub fn launch(&self) -> Result<()> {
        self.launch_unready()?;
        self.wait(&["ready"])
    }

    /// Has its supervisor start it again, and waits for nothing.
    pub fn launch_unready(&self) -> Result<()> {
        self.signal_supervisor("CONT")
    }

    fn signal_supervisor(&self, signal: &str) -> Result<()> {
        let signal = format!("--signal={signal}");
        let output = self.node.run(&["pkill", &signal, "--full", SUPERVISOR])?;
        output.stdout().map(drop).context("no supervisor of an agent")
    }
}
