//! Why a connection ended: a closed set of labels, and a counter for each.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::Serialize;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The label in access records and metrics.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

reasons! {
    /// Both ends finished.
    Closed = "closed",
    ClientReset = "client-reset",
    ServerReset = "server-reset",
    IdleTimeout = "idle-timeout",
    ConnectTimeout = "connect-timeout",
    ConnectRefused = "connect-refused",
    /// No route, or an end that stopped answering.
    Unreachable = "unreachable",
    UnknownPort = "unknown-port",
    NoEndpoint = "no-endpoint",
    NoLocalEndpoint = "no-local-endpoint",
    /// The service stands for many names, and the proxy does not know which of them the client asked for.
    DynamicDns = "dynamic-dns",
    /// No service has the address, and the client's outbound traffic policy is `REGISTRY_ONLY`.
    NotRegistered = "not-registered",
    /// The name of an endpoint does not exist in DNS, or has no address.
    NameUnknown = "name-unknown",
    /// No name server said what address the name of an endpoint has.
    ResolverFailed = "resolver-failed",
    /// The application dialled a listener of the proxy.
    OwnListener = "own-listener",
    /// A connection that the proxy opened came back to it.
    OwnConnection = "own-connection",
    /// Every source port for this client and endpoint is in use.
    NoSourcePort = "no-source-port",
    /// The pod has all the connections that one may have.
    PodLimit = "pod-limit",
    /// The node has, or what is left is kept for other pods.
    NodeLimit = "node-limit",
    /// The agent may not open another file.
    OutOfDescriptors = "out-of-descriptors",
    /// The proxy was drained and the connection outlasted the deadline.
    DrainDeadline = "drain-deadline",
    /// The pod was released and the connection outlasted the drain time.
    Released = "released",
    /// The task of the connection was taken down with the runtime.
    Aborted = "aborted",
    /// Any other failure of a system call.
    Io = "io",
}

/// How many connections ended for each reason.
#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; Reason::ALL.len()]);

// === impl Reason ===

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

// === impl Counters ===

impl Counters {
    pub(crate) fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Vec<(Reason, u64)> {
        Reason::ALL.iter().map(|&r| (r, self.0[r as usize].load(Ordering::Relaxed))).collect()
    }
}

#[cfg(test)]
mod tests;
