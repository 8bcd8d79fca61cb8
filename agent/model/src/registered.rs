//! What the registry knows.

use crate::Cidr;

/// What somebody in the mesh has: what a pod may dial whose outbound traffic policy is `REGISTRY_ONLY`. Coarser than what
/// decides in the end, for it says neither of which ports nor to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Registered {
    /// Addresses of services, of endpoints of headless ones, and of pods.
    Addresses(Cidr),
    /// A service has this port of every address.
    Port(u16),
}
