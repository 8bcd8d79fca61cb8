//! Probes: tells the programs whose connections from the node reach captured pods without the proxy, and follows the
//! kubelet through its restarts.
//!
//! What the programs know stays in force while no agent runs: the kubelet goes on probing.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use capture::{Capture, Prober, tells_processes};
use tokio::{sync::watch, task::spawn_blocking, time::interval};
use tracing::{info, warn};

use crate::{
    config::Probes,
    kubelet::{Here, Process, is_kubelet, is_running, processes},
    tenure::Tenure,
};

/// How often it is asked whether the kubelet is still there; none is looked for more often.
const ROUND: Duration = Duration::from_secs(1);

/// While there is one, another is looked for every so many rounds.
const ROUNDS_PER_LOOK: u32 = 10;

/// Whose connections pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probing {
    Nobody,
    /// Every process in the node's network namespace.
    Node,
    /// Those processes; none where no kubelet was found.
    Kubelet(Vec<Known>),
}

/// A kubelet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    process: Process,
    /// `None`: this kernel cannot tell it from others.
    prober: Option<Prober>,
}

#[derive(Debug)]
struct Follower {
    capture: Arc<Capture>,
    here: Here,
    probing: watch::Sender<Probing>,
    tenure: Tenure,
    /// What is in the kernel, once it is known.
    told: Option<Vec<Prober>>,
    was_denied: bool,
}

/// The kubelet is looked for at once, and from then on until the receiver is dropped or another agent writes.
pub(crate) fn start(
    capture: Arc<Capture>,
    setting: Probes,
    tenure: Tenure,
) -> Result<watch::Receiver<Probing>> {
    let here = Here::look().context("cannot read this process's namespaces in /proc/thread-self/ns")?;
    let (probing, receiver) = watch::channel(Probing::Nobody);
    let fixed = match setting {
        Probes::Off => Some((Probing::Nobody, vec![])),
        Probes::Node => Some((Probing::Node, vec![Prober::Anybody])),
        Probes::Kubelet => None,
    };
    if let Some((whose, probers)) = fixed {
        capture.set_probers(&probers)?;
        probing.send_replace(whose);
        return Ok(receiver);
    }
    probing.send_replace(Probing::Kubelet(Vec::new()));
    let follower = Follower { capture, here, probing, tenure, told: None, was_denied: false };
    tokio::spawn(follower.run());
    Ok(receiver)
}

// === impl Follower ===

impl Follower {
    async fn run(mut self) {
        let mut rounds = interval(ROUND);
        let mut looked = None;
        for round in 0_u32.. {
            rounds.tick().await;
            if self.probing.is_closed() || !self.tenure.holds() {
                return;
            }
            let is_due = looked.is_none_or(|looked| ROUNDS_PER_LOOK <= round.wrapping_sub(looked));
            if is_due || !self.is_still_there() {
                looked = Some(round);
                self.look().await;
            }
        }
    }

    fn is_still_there(&self) -> bool {
        match &*self.probing.borrow() {
            Probing::Kubelet(known) => {
                !known.is_empty() && known.iter().all(|known| is_running(&known.process))
            }
            Probing::Nobody | Probing::Node => true,
        }
    }

    async fn look(&mut self) {
        let here = self.here.clone();
        let mount = self.capture.config().cgroup.clone();
        let looked = spawn_blocking(move || find(&here, &mount)).await;
        let (known, denied) = match looked.unwrap_or_else(|e| Err(io::Error::other(e))) {
            Ok(found) => found,
            Err(error) => {
                warn!(%error, "Cannot look for the kubelet in /proc");
                return;
            }
        };
        if let Some(pid) = denied.filter(|_| !self.was_denied) {
            warn!(
                pid,
                "A process may be the kubelet, and may not be looked at: does the agent have CAP_SYS_PTRACE?"
            );
        }
        self.was_denied = denied.is_some();
        self.tell(known);
    }

    fn tell(&mut self, known: Vec<Known>) {
        let probers: Vec<Prober> = known.iter().filter_map(|known| known.prober).collect();
        if self.told.as_ref() != Some(&probers) {
            if let Err(error) = self.capture.set_probers(&probers) {
                warn!(%error, "Cannot tell the programs who the kubelet is; trying again");
                return;
            }
            self.told = Some(probers);
        }
        let probing = Probing::Kubelet(known);
        let is_news = self.probing.send_if_modified(|before| {
            let is_news = *before != probing;
            before.clone_from(&probing);
            is_news
        });
        if is_news {
            info!(probes = %probing, "Looked for the kubelet");
        }
    }
}

/// All kubelets, and a process that may be one.
fn find(here: &Here, cgroup_mount: &Path) -> io::Result<(Vec<Known>, Option<u32>)> {
    let processes = processes()?;
    let prober = |process: &Process| {
        if tells_processes() {
            return Some(Prober::ThreadGroup(process.pid));
        }
        process.own_cgroup(cgroup_mount).map(Prober::Cgroup)
    };
    let kubelets = processes.found.into_iter().filter(|process| is_kubelet(process, here));
    let known = kubelets.map(|process| Known { prober: prober(&process), process }).collect();
    Ok((known, processes.denied))
}

// === impl Probing ===

impl Probing {
    /// For `status`. On a node that is not expected to have a kubelet there is nothing to tell of none.
    pub fn sentence(&self, kubelet_is_expected: bool) -> Option<String> {
        match self {
            Self::Kubelet(known) if known.is_empty() && !kubelet_is_expected => None,
            told => Some(told.to_string()),
        }
    }
}

impl fmt::Display for Probing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("captured like anything else (probes: off)"),
            Self::Node => {
                f.write_str("every process of the node reaches captured pods directly (probes: node)")
            }
            Self::Kubelet(known) if known.is_empty() => {
                f.write_str("no kubelet found on this node: probes are captured like anything else")
            }
            Self::Kubelet(known) => {
                for (i, Known { process, prober }) in known.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{} (PID {})", process.name, process.pid)?;
                    match prober {
                        Some(_) => f.write_str(" reaches captured pods directly")?,
                        None => f.write_str(
                            " is captured like anything else: it shares its cgroup, and before Linux 6.10 the \
                             kernel does not tell processes of this PID namespace apart",
                        )?,
                    }
                }
                Ok(())
            }
        }
    }
}
