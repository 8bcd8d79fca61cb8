//! What capture is told.

use std::path::PathBuf;

use model::Marks;
use serde::{Deserialize, Serialize};

use crate::{Pins, preflight};

#[derive(Clone, Debug)]
pub struct Config {
    pub pins: Pins,
    /// Where the journal of each captured pod is kept.
    pub journal: PathBuf,
    /// Where the verifier's log is left when it refuses a program.
    pub verifier_logs: PathBuf,
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
    pub guard_hook: GuardHook,
}

/// How the guard is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuardHook {
    /// TCX where the kernel has it, else clsact.
    #[default]
    Auto,
    /// A link, pinned: nobody in the pod can take it away. From Linux 6.6.
    Tcx,
    /// A tc filter under a clsact qdisc, which stays when the filter goes.
    Clsact,
}

// === impl Steering ===

impl Default for Steering {
    fn default() -> Self {
        // Istio's outbound port, for a number that somebody who lists rules will recognise.
        Self { marks: Marks::default(), table: 15_001, rule_priority: 100, guard_hook: GuardHook::Auto }
    }
}

// === impl GuardHook ===

impl GuardHook {
    /// Never `Auto`.
    pub(crate) fn resolve(self) -> Self {
        match self {
            Self::Auto if preflight::has_tcx() => Self::Tcx,
            Self::Auto => Self::Clsact,
            chosen => chosen,
        }
    }
}
