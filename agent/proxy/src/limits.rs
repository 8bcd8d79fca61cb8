//! How much the pods of a node may take of the proxy, each and together.

use crate::fair::Share;

/// What is counted against a pod is what was accepted in its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_pod: usize,
    /// Copy buffers. Beyond it a stream has one of 4 KiB, so that it goes on.
    pub buffer_bytes: usize,
    pub buffer_bytes_per_pod: usize,
}

/// One of these parts of the connections is kept for pods that have few.
const RESERVE_OF_CONNECTIONS: usize = 20;
const RESERVE_OF_BUFFERS: usize = 4;

/// Less than one file in so many connections, and never too few for one busy pod.
const QUERIES: usize = 16;
const LEAST_QUERIES: usize = 256;

/// Both sockets.
const FILES_PER_CONNECTION: u64 = 2;

// === impl Limits ===

impl Limits {
    /// What a process can serve that may open so many files. One pod may have all that is not kept for others.
    pub fn for_files(files: u64) -> Self {
        let connections = (files.saturating_sub(own(files)) / FILES_PER_CONNECTION).max(1);
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        Self {
            connections,
            connections_per_pod: connections,
            buffer_bytes: 256 << 20,
            buffer_bytes_per_pod: 64 << 20,
        }
    }

    pub(crate) fn connections(&self) -> Share {
        let reserve = self.connections / RESERVE_OF_CONNECTIONS;
        Share { node: self.connections, pod: self.connections_per_pod, reserve }
    }

    /// DNS queries that wait for a resolver; each needs a file.
    pub(crate) fn queries(&self) -> Share {
        let node = (self.connections / QUERIES).max(LEAST_QUERIES);
        Share { node, pod: node / 2, reserve: node / 4 }
    }

    pub(crate) fn buffers(&self) -> Share {
        let reserve = self.buffer_bytes / RESERVE_OF_BUFFERS;
        Share { node: self.buffer_bytes, pod: self.buffer_bytes_per_pod, reserve }
    }
}

/// What the agent itself may have open: eBPF maps and links, manifests, and of each pod its listeners, its
/// namespace and a netlink socket.
fn own(files: u64) -> u64 {
    let (least, most) = (256, 8_192);
    (files / 20).clamp(least, most).min(files / 2)
}

#[cfg(test)]
mod tests;
