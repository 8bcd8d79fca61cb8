//! Why a connection goes nowhere.

use std::fmt;

use serde::Serialize;

/// Passing the connection through instead would send it to an address that nobody has, or that it must not reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The service has no TCP port of this number.
    UnknownPort,
    /// No endpoint is ready, nor terminating and still serving.
    NoEndpoint,
    /// `internalTrafficPolicy: Local`, and every usable endpoint is on another node.
    NoLocalEndpoint,
    /// `resolution: DYNAMIC_DNS`: the service stands for many names, and which of them the client asked for is not
    /// known.
    DynamicDns,
    /// No service has the address, and the client's outbound traffic policy is `REGISTRY_ONLY`.
    NotRegistered,
}

// === impl Refusal ===

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownPort => "the service has no such port",
            Self::NoEndpoint => "no endpoint of the service is ready",
            Self::NoLocalEndpoint => "internalTrafficPolicy is Local and no endpoint on this node is ready",
            Self::DynamicDns => {
                "resolution is DYNAMIC_DNS, and TCP does not tell the proxy which name the client asked for"
            }
            Self::NotRegistered => {
                "no service has this address and port, and the outbound traffic policy is REGISTRY_ONLY"
            }
        })
    }
}
