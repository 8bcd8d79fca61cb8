//! What capture is told.

use std::path::PathBuf;

use model::Marks;
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
    /// Priority of the rule `fwmark C/C lookup T`: after `local` (0), before what pods and CNIs add. In a pod where another
    /// rule would still come first, ours stands before that.
    pub rule_priority: u32,
}

// === impl Steering ===

impl Default for Steering {
    fn default() -> Self {
        // Istio's outbound port, for a number that somebody who lists rules will recognise.
        Self { marks: Marks::default(), table: 15_001, rule_priority: 100 }
    }
}
