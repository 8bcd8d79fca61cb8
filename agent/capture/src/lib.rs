//! Kernel redirection of pods.
//!
//! ```text
//! observe → desire → plan → apply            (release: the same steps undone, in reverse)
//! ```
//!
//! A pod is captured by a few changes in its network namespace (sysctls, one rule and one route a family), its
//! own `sk_lookup` program, the proxy's listeners in a map, a guard on each interface, and last an entry in `PODS`. What was there before
//! each change is in the [`journal`], so that `cleanup` and the next agent can undo it after a `SIGKILL`.
//!
//! Modules in reading order: [`Config`] · [`desired`] PURE · [`exclusions`] PURE · [`plan`] PURE · [`journal`] · [`change`] · [`pod`] (observe
//! and apply) · [`programs`] (load, pin, adopt) · [`verifier`] (what
//! the kernel says of them) · [`maps`] · [`netlink`] · [`sysctl`] · [`verify`] · [`cgroup`] ·
//! [`collision`] PURE (what others have in the pod, and what cannot go together) · [`neighbours`] (looks for it) ·
//! [`preflight`] · [`canary`] · [`cleanup`] · [`older`] (connections that were there before; its decision PURE) ·
//! [`Pulse`] (whether the agent lives) · [`Prober`] (whose connections from the node are probes).

pub mod canary;
pub mod cgroup;
pub mod change;
pub mod cleanup;
pub mod collision;
mod config;
pub mod desired;
mod error;
pub mod exclusions;
mod family;
mod filter;
mod host_end;
mod interface;
pub mod journal;
mod link;
mod logs;
pub mod maps;
pub mod neighbours;
pub mod netlink;
pub mod older;
mod pid_namespace;
mod pins;
pub mod plan;
pub mod pod;
pub mod preflight;
mod programs;
mod pulse;
mod sock_diag;
mod spec;
pub mod sysctl;
mod verifier;
pub mod verify;

pub use abi::Prober;
pub use config::{Config, GuardHook, Steering};
pub use error::Error;
pub use family::Family;
pub use netlink::Netlink;
pub use older::Older;
pub use pid_namespace::tells_processes;
pub use pins::Pins;
pub use pod::Capture;
pub use programs::Programs;
pub use pulse::{Life, Pulse};
pub use spec::{Listen, Listener, PodSpec};
pub use verifier::Figures;
