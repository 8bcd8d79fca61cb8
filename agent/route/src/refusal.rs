//! Why a connection to a known service goes nowhere.

use std::fmt;

use serde::Serialize;

/// The service is known, and nothing of it can take the connection. Passing it through instead would send it
/// to an address that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The service has no TCP port of this number.
    UnknownPort,
    /// No endpoint is ready, nor terminating and still serving.
    NoEndpoint,
    /// `internalTrafficPolicy: Local`, and every usable endpoint is on another node.
    NoLocalEndpoint,
}

// === impl Refusal ===

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownPort => "the service has no such port",
            Self::NoEndpoint => "no endpoint of the service is ready",
            Self::NoLocalEndpoint => "internalTrafficPolicy is Local and no endpoint on this node is ready",
        })
    }
}
