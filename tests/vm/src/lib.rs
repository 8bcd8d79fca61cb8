//! What `cargo xtask vm` and the first process of its virtual machine agree on.
//!
//! ```text
//! xtask                                       init, process 1 of the VM
//! puts Order at /order.json in the initramfs  mounts, loads modules, runs the command
//! shows what comes out of PORT_OUTPUT         the command's stdout and stderr
//! ends with what comes out of PORT_OUTCOME    an Outcome
//! ```
#![forbid(unsafe_code)]

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What the VM is to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Order {
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub dir: PathBuf,
    /// Kernel modules to load first, those that they need included by modprobe.
    pub modules: Vec<String>,
}

/// What became of it: one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// None yet: the command runs.
    Started,
    /// The command has ended by itself.
    Exited(i32),
    /// It was killed by this signal.
    Signalled(i32),
    /// It was never run, and why.
    Failed(String),
}

pub const ORDER: &str = "/order.json";
/// Names of the virtio-serial ports, which the kernel shows in `/sys/class/virtio-ports`.
pub const PORT_OUTPUT: &str = "millstream.output";
pub const PORT_OUTCOME: &str = "millstream.outcome";
