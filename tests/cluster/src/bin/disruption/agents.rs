//! The agents as the chart installs them: a DaemonSet.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cluster::release;
use serde_json::Value;

use crate::stage::Stage;

const DAEMONSET: &str = "daemonset/millstream";
const NODES: [&str; 2] = ["n1", "n2"];
const PATIENCE: Duration = Duration::from_secs(60);
/// Between questions to a node.
const ROUND: Duration = Duration::from_millis(10);

// === impl Stage ===

impl Stage {
    /// If they are not there.
    pub(crate) fn install(&mut self) -> Result<()> {
        if self.installed.is_some() {
            return Ok(());
        }
        self.cluster.prepare_install()?;
        let keep = ["cp", "/etc/cni/net.d/10-pods.conflist", "/run/theirs.conflist"];
        self.cluster.node("n1")?.run(&keep)?.stdout()?;
        let begin = Instant::now();
        self.cluster.helm_install(&["logJson=false"])?;
        self.installed = Some(begin.elapsed());
        Ok(())
    }

    pub(crate) fn uninstall(&mut self) -> Result<()> {
        self.installed = None;
        self.cluster.uninstall()
    }

    pub(crate) fn of_agents(&self, args: &[&str]) -> Result<String> {
        Ok(self.cluster.kubectl(&[args, &[release::IN_NAMESPACE]].concat())?.stdout()?.to_owned())
    }

    pub(crate) fn begin_roll(&self) -> Result<()> {
        self.of_agents(&["rollout", "restart", DAEMONSET]).map(drop)
    }

    /// Returns when each node has a new agent that is ready; the ones before may still have connections.
    pub(crate) fn roll(&self) -> Result<()> {
        self.begin_roll()?;
        self.of_agents(&["rollout", "status", DAEMONSET, "--timeout=60s"]).map(drop)
    }

    /// Until those that were told to end have, too.
    pub(crate) fn until_replaced(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !self.are_all_ready()? {
            ensure!(Instant::now() < end, "the agents were not replaced within {PATIENCE:?}");
        }
        Ok(())
    }

    fn are_all_ready(&self) -> Result<bool> {
        let pods: Value =
            serde_json::from_str(&self.of_agents(&["get", "pods", release::AGENTS, "--output=json"])?)?;
        let pods = pods["items"].as_array().context("no list of pods")?;
        let is_ready = |pod: &Value| {
            let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            pod["metadata"]["deletionTimestamp"].is_null()
                && conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        Ok(pods.len() == NODES.len() && pods.iter().all(is_ready))
    }

    /// SIGKILL to all of them, but not to their supervisors; returns when each node has one that is ready.
    pub(crate) fn kill(&self) -> Result<()> {
        let mut killed = Vec::new();
        for node in NODES {
            let pid = self.cluster.node(node)?.agent().pid()?;
            self.cluster.node(node)?.run(&["kill", "-KILL", &pid.to_string()])?.stdout()?;
            killed.push((node, pid));
        }
        let end = Instant::now() + PATIENCE;
        for (node, pid) in killed {
            while self.cluster.node(node)?.agent().pid()? == pid {
                ensure!(Instant::now() < end, "the agent of {node} did not come back within {PATIENCE:?}");
                thread::sleep(ROUND);
            }
            self.cluster.node(node)?.agent().wait(&["ready"])?;
        }
        Ok(())
    }

    /// What the agent of n1 has in memory (RSS).
    pub(crate) fn agent_megabytes(&self) -> Result<f64> {
        let node = self.cluster.node("n1")?;
        let status = node.run(&["cat", &format!("/proc/{}/status", node.agent().pid()?)])?;
        let resident = status.stdout()?.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = resident.and_then(|line| line.trim().strip_suffix("kB")).context("no VmRSS")?;
        Ok(kibibytes.trim().parse::<f64>()? * 1_024.0 / 1e6)
    }
}
