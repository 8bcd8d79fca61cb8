//! What capture is told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Pins;

#[derive(Clone, Debug)]
pub struct Config {
    pub pins: Pins,
    /// Where the journal of each captured pod is kept.
    pub journal: PathBuf,
    /// The connect hooks are attached here: the cgroup-v2 root, unless a node's pods live below another.
    pub cgroup: PathBuf,
    pub steering: Steering,
}

/// Numbers that a pod's own software might use already; all configurable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Steering {
    pub marks: Marks,
    /// Table T: `local default dev lo`.
    pub table: u32,
    /// Priority of the rule `fwmark C/C lookup T`: after `local` (0), before what pods and CNIs add.
    pub rule_priority: u32,
}

/// Two bits of `SO_MARK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Marks {
    /// Bit C: what must turn over `lo`.
    pub captured: u32,
    /// Bit A: the agent's sockets that leave the pod.
    pub agent: u32,
}

// === impl Steering ===

impl Default for Steering {
    fn default() -> Self {
        // Istio's outbound port, for a number that somebody who lists rules will recognise.
        Self { marks: Marks::default(), table: 15_001, rule_priority: 100 }
    }
}

// === impl Marks ===

impl Default for Marks {
    fn default() -> Self {
        // High bits, away from kube-proxy (0xc000), Cilium (0x0f00), Istio (0xfff) and AWS (0x80).
        Self { captured: 0x1000_0000, agent: 0x2000_0000 }
    }
}

impl Marks {
    /// Each is one bit, and they differ.
    pub fn is_valid(self) -> bool {
        self.captured.is_power_of_two() && self.agent.is_power_of_two() && self.captured != self.agent
    }
}
