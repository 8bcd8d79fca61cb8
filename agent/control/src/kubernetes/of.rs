//! What of the cluster is followed. PURE.

use super::event::Topic;
use crate::kind::{Kind, PolicyKind};

pub(super) const ISTIO: &str = "networking.istio.io";
/// Of Kubernetes itself, where newer versions have more kinds than older ones.
pub(super) const NETWORKING: &str = "networking.k8s.io";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// Everything that an agent reads.
    Agent,
    /// What it takes to give hosts addresses: ServiceEntries, and who has addresses already, or is to have some.
    Entries,
}

const AGENT: [Topic; 7] = [
    Topic::Objects(Kind::Namespace),
    Topic::Objects(Kind::Node),
    Topic::Objects(Kind::Pod),
    Topic::Objects(Kind::Service),
    Topic::Objects(Kind::EndpointSlice),
    Topic::Objects(Kind::Policy(PolicyKind::Kubernetes)),
    Topic::Kinds,
];

const ENTRIES: [Topic; 2] = [Topic::Objects(Kind::Service), Topic::Kinds];

// === impl Of ===

impl Of {
    /// Without these nothing can be said.
    pub(super) fn always(self) -> &'static [Topic] {
        match self {
            Self::Agent => &AGENT,
            Self::Entries => &ENTRIES,
        }
    }

    /// Whose rights they take.
    pub(super) fn whose(self) -> &'static str {
        match self {
            Self::Agent => "the agent's",
            Self::Entries => "the controller's",
        }
    }

    /// Of the kinds that may come later.
    pub(super) fn includes(self, kind: Kind) -> bool {
        match self {
            Self::Agent => kind != Kind::ServiceCidr,
            Self::Entries => matches!(kind, Kind::ServiceEntry | Kind::ServiceCidr),
        }
    }

    /// Whether a group of the API may have some.
    pub(super) fn looks_into(self, group: &str) -> bool {
        match self {
            Self::Agent => group != NETWORKING,
            Self::Entries => [ISTIO, NETWORKING].contains(&group),
        }
    }
}
