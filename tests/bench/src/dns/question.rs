//! What is asked for, and who answers.

use std::net::Ipv4Addr;

use crate::road::NAMESPACE;

/// A name that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    Service,
    Allocated,
    Forwarded,
}

/// Who answers, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// dnsmasq in another pod, asked by a pod outside the mesh.
    Dnsmasq,
    /// The same, asked by a captured pod.
    Ours,
    /// dnsmasq in the pod that asks.
    OverLo,
}

/// Of the service.
pub(super) const SERVICE: &str = "web";
/// Of the ServiceEntry.
pub(super) const HOST: &str = "api.example.com";

// === impl Question ===

impl Question {
    pub(super) const ALL: [Self; 3] = [Self::Service, Self::Allocated, Self::Forwarded];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Allocated => "allocated",
            Self::Forwarded => "forwarded",
        }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Allocated => "allocated host",
            Self::Forwarded => "name outside",
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Service => format!("{SERVICE}.{NAMESPACE}.svc.cluster.local"),
            Self::Allocated => HOST.to_owned(),
            Self::Forwarded => "www.example.org".to_owned(),
        }
    }

    /// Whether the mesh answers it.
    pub(super) fn is_of_mesh(self) -> bool {
        self != Self::Forwarded
    }

    /// What dnsmasq answers: by the address one sees who did.
    pub(super) fn at_dnsmasq(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, 1 + self as u8)
    }

    /// For its command line.
    pub(super) fn record(self) -> String {
        format!("--host-record={},{}", self.name(), self.at_dnsmasq())
    }
}

// === impl Way ===

impl Way {
    pub(super) const ALL: [Self; 3] = [Self::Dnsmasq, Self::Ours, Self::OverLo];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Ours => "ours",
            Self::OverLo => "dnsmasq over lo",
        }
    }
}
