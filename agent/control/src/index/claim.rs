//! What an object may have only for itself.

use std::{fmt, net::IpAddr, path::PathBuf};

use model::PodUid;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Claim {
    /// An address of a running pod on the pod network, or the VIP of a service.
    Address(IpAddr),
    Uid(PodUid),
    Netns(PathBuf),
}

// === impl Claim ===

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) => write!(f, "address {ip}"),
            Self::Uid(uid) => write!(f, "UID {uid}"),
            Self::Netns(path) => write!(f, "network namespace {}", path.display()),
        }
    }
}
