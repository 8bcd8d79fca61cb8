//! Puts the agents on a cluster and takes them away, for people without Helm: what `daemonset/millstream.yaml` says, which
//! is the chart with none of its values set.
//!
//! ```text
//!  install     apply every object, server-side ─► wait until each node's agent is ready
//!  uninstall   delete the DaemonSet ─► wait until each agent has cleaned its node ─► the rest ─► the namespace
//! ```
//!
//! The DaemonSet goes first, alone: its agents clean their nodes while they still have their rights. What there is to say
//! on the way goes to a [`Tell`].
//!
//! In reading order:
#![forbid(unsafe_code)]

/// The DaemonSet and its pods, followed while they come and go.
mod agents;
/// Puts them there.
mod apply;
mod connect;
mod error;
/// PURE: the objects.
mod manifests;
/// Takes them away.
mod remove;

pub use self::{
    agents::{Agents, Installation},
    apply::apply,
    connect::connect,
    error::Error,
    manifests::{manifests, of_manifests},
    remove::{remove, remove_agents},
};

pub use kube::Client;

/// Hears what was done, a line each.
pub type Tell<'a> = &'a mut dyn FnMut(&str);
