//! The run directory: where an agent leaves what the command line needs, also when the agent is down.
//!
//! ```text
//! RUN_DIR/agent.json   what the agent was started with
//! RUN_DIR/agent.lock   held by the agent that writes
//! RUN_DIR/drain.lock   shared by those that have stepped down and have connections
//! RUN_DIR/admin.sock   asks it
//! RUN_DIR/cni.sock     where the CNI plugin asks it
//! RUN_DIR/journal/     what was changed in each captured pod
//! RUN_DIR/verifier/    of each eBPF program that the kernel refused, what its verifier said
//! ```

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use capture::{Pins, Steering};
use control::Source;
use serde::{Deserialize, Serialize};

pub const DEFAULT: &str = "/run/millstream";

#[derive(Clone, Debug)]
pub struct RunDir(PathBuf);

/// `agent.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentFile {
    pub node: String,
    pub pid: u32,
    /// One more than that of the agent before.
    #[serde(default)]
    pub generation: u64,
    /// Which pod of the DaemonSet it runs in.
    #[serde(default)]
    pub instance: Option<String>,
    pub version: String,
    pub source: Source,
    pub config: Option<PathBuf>,
    pub pins: PathBuf,
    pub cgroup: PathBuf,
    pub steering: Steering,
}

// === impl RunDir ===

impl RunDir {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes the directory: readable by root alone, for what it holds steers pods.
    pub fn create(&self) -> Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            // The kubelet makes a hostPath for all to read.
            .and_then(|()| fs::set_permissions(&self.0, Permissions::from_mode(0o700)))
            .with_context(|| format!("cannot create the run directory {}", self.0.display()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// See [`crate::tenure`].
    pub fn lock_file(&self) -> PathBuf {
        self.0.join("agent.lock")
    }

    pub fn drain_file(&self) -> PathBuf {
        self.0.join("drain.lock")
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    pub fn cni_socket(&self) -> PathBuf {
        self.0.join(cni::ask::SOCKET)
    }

    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    pub fn verifier_logs(&self) -> PathBuf {
        self.0.join("verifier")
    }

    pub fn write(&self, agent: &AgentFile) -> Result<()> {
        let path = self.0.join("agent.json");
        let new = self.0.join("agent.json.new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(agent)?)?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    pub fn read(&self) -> Result<AgentFile> {
        self.read_if_there()?.with_context(|| {
            format!(
                "no agent has worked with the run directory {}: start one, or name another with --run-dir",
                self.0.display()
            )
        })
    }

    /// `None`: no agent has worked here.
    pub fn read_if_there(&self) -> Result<Option<AgentFile>> {
        let path = self.0.join("agent.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        serde_json::from_slice(&text).map(Some).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Removes what an agent left, after its pods are restored.
    pub fn remove(&self) -> Result<()> {
        for name in ["agent.json", "agent.lock", "drain.lock", "admin.sock", cni::ask::SOCKET] {
            remove_if_there(&self.0.join(name))?;
        }
        match fs::remove_dir_all(self.verifier_logs()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot remove {}", self.verifier_logs().display()));
            }
            _ => {}
        }
        // Somebody else's files keep the directory.
        let _not_empty = fs::remove_dir(&self.0);
        Ok(())
    }
}

// === impl AgentFile ===

impl AgentFile {
    /// What the kernel holds for this agent, as `capture` wants it.
    pub fn capture_config(&self, run_dir: &RunDir) -> capture::Config {
        capture::Config {
            pins: Pins::of_node(&self.node),
            journal: run_dir.journal(),
            verifier_logs: run_dir.verifier_logs(),
            cgroup: self.cgroup.clone(),
            steering: self.steering,
        }
    }
}

pub(crate) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
