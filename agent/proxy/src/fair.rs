//! PURE. Who may take more of what all pods of the node share.
//!
//! A pod may take what is free, up to its own limit. The last part, the reserve, is only for pods that have little:
//! a pod that takes all it can leaves it to the others, and each of them is sure of its part.

use std::fmt;

/// How much of something there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// For all pods together.
    pub(crate) node: usize,
    /// For one pod.
    pub(crate) pod: usize,
    /// The last part of `node`.
    pub(crate) reserve: usize,
}

/// How much of it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) node: usize,
    /// By the pod that wants more.
    pub(crate) pod: usize,
}

/// Why a pod may not have more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) exceeded: Exceeded,
    pub(crate) share: Share,
    pub(crate) used: Used,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Pod,
    /// What is left is for pods that have less.
    Reserve,
    Node,
}

/// The reserve is parted among so many pods at least, for others may come.
const FEWEST_PODS: usize = 8;

// === impl Share ===

impl Share {
    /// Whether one of `pods` pods may have `wanted` more.
    pub(crate) fn admit(self, used: Used, pods: usize, wanted: usize) -> Result<(), Denial> {
        let denied = |exceeded| Err(Denial { exceeded, share: self, used });
        let after = Used { node: used.node.saturating_add(wanted), pod: used.pod.saturating_add(wanted) };
        if self.pod < after.pod {
            denied(Exceeded::Pod)
        } else if self.node < after.node {
            denied(Exceeded::Node)
        } else if self.node - self.reserve < after.node && self.assured(pods) < after.pod {
            denied(Exceeded::Reserve)
        } else {
            Ok(())
        }
    }

    /// What a pod is sure of.
    fn assured(self, pods: usize) -> usize {
        (self.reserve / pods.max(FEWEST_PODS)).max(1)
    }
}

// === impl Denial ===

impl fmt::Display for Denial {
    /// As it reads of connections.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exceeded, share: Share { node, pod, reserve }, used } = self;
        match exceeded {
            Exceeded::Pod => {
                write!(f, "it has all the connections that limits.connections-per-pod allows, {pod}")
            }
            Exceeded::Reserve => write!(
                f,
                "it has {} connections, the node {} of limits.connections, {node}; the last {reserve} are for pods \
                 that have few",
                used.pod, used.node
            ),
            Exceeded::Node => {
                write!(f, "the node has all the connections that limits.connections allows, {node}")
            }
        }
    }
}

#[cfg(test)]
mod tests;
