//! The link to the container runtime: the plugin `millstream-cni`, last in the node's CNI chain.
//!
//! ```text
//! kubelet ─► containerd ─► primary plugin ─► millstream-cni ──Request──► agent       (RUN_DIR/cni.sock)
//!                 ▲                               └─ no answer ─► standing.json ◄── written by the agent
//!                 └ 10-primary.conflist ◄── install: our entry last, kept there, taken out at the end
//! ```
//!
//! In reading order: [`ask`] (the conversation) · [`entry`] (the plugin's own configuration) · [`standing`] (what holds
//! while no agent answers; PURE but for reading and writing the file) · [`conflist`] (text to text, PURE) ·
//! [`install`] (onto the node, and off again) · [`file`] (writing so that nobody sees half). Blocking, all of it. The
//! plugin itself is `main.rs`.
#![forbid(unsafe_code)]

pub mod ask;
pub mod conflist;
pub mod entry;
pub mod file;
pub mod install;
mod sentence;
pub mod standing;

pub use self::sentence::sentence;
