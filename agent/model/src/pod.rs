//! Pods, and whether they are captured.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Exclusions, ObjectName, PodUid};

/// A pod of the cluster, on whatever node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pod {
    pub uid: PodUid,
    pub name: ObjectName,
    /// `spec.nodeName`; `None` until the pod is scheduled.
    pub node: Option<Arc<str>>,
    /// `spec.serviceAccountName`, `default` where none is given.
    pub service_account: Arc<str>,
    /// `status.podIPs`, the primary address first.
    pub ips: Vec<IpAddr>,
    /// The UID that the kubelet and the runtime of its node know it by, where that is another: of a static pod, whose
    /// object in the API server is a mirror (`kubernetes.io/config.mirror`).
    pub runtime_uid: Option<Arc<str>>,
    /// Where the network namespace of the pod is found, if its source knows (`millstream.dev/netns`).
    pub netns: Option<PathBuf>,
    pub enrolment: Enrolment,
    /// `metadata.deletionTimestamp`: it goes on for a while, and then loses its network namespace before it is gone.
    pub terminating: bool,
    pub when_agent_down: WhenAgentDown,
    pub existing_connections: ExistingConnections,
    /// A network policy that may select it, e.g. `NetworkPolicy shop/deny-all`: the first where there are several.
    pub policed_by: Option<Arc<str>>,
    /// Those of the node's configuration and of the pod's own annotations.
    pub exclusions: Exclusions,
    /// The annotations about exclusions that are ignored, and why: a sentence each.
    pub refused_exclusions: Vec<String>,
    /// The annotation `ambient.istio.io/redirection`: what the cluster was told last of its capture.
    pub redirection: Option<Arc<str>>,
    pub dns: PodDns,
    pub outbound_policy: OutboundPolicy,
}

/// What becomes of a connection to an address that the cluster's registry does not know: Istio's
/// `outboundTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundPolicy {
    /// It passes to where it was dialled.
    #[default]
    AllowAny,
    /// It is refused.
    RegistryOnly,
}

/// What becomes of the pod's DNS queries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PodDns {
    /// Whether they go through the proxy once the pod is captured (`ambient.istio.io/dns-capture`).
    pub captured: bool,
    /// What its resolver appends to a name, in this order, by `spec.dnsPolicy` and `spec.dnsConfig`: in lower case and
    /// without the last dot.
    pub search: Vec<Arc<str>>,
}

/// Whether a pod belongs into the mesh, and by which rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "because")]
pub enum Enrolment {
    /// To be captured; the text names the label that says so, e.g. `namespace label
    /// istio.io/dataplane-mode=ambient`.
    Enrolled(String),
    NotEnrolled(Uncaptured),
}

/// Why a pod is not captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Uncaptured {
    /// No label asks for it.
    NoLabel,
    /// None of the configured `enablementSelectors` matches.
    NoSelector,
    /// The pod's own label `istio.io/dataplane-mode=none`.
    OptedOut,
    /// `spec.hostNetwork`: the pod has no network namespace of its own.
    HostNetwork {
        /// The label that asks for its capture, in vain.
        asked_by: Option<String>,
    },
    /// The annotation `sidecar.istio.io/status`: a sidecar already captures.
    Sidecar,
    /// The namespace is excluded by the node's configuration (default: `kube-system`).
    ExcludedNamespace,
    /// `Succeeded` or `Failed`.
    Terminal,
    /// `status.podIPs` is still empty.
    NoAddress,
}

/// What a captured pod's new connections meet while no agent runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenAgentDown {
    /// Refused at once: nothing gets round the mesh.
    #[default]
    Closed,
    /// Direct, as if the pod were not captured.
    Open,
}

/// What becomes of the connections that a pod has when it is captured: they are past the proxy's reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExistingConnections {
    /// They go on, uncaptured, until they end.
    #[default]
    Keep,
    /// They are reset, so that the application makes them anew through the proxy.
    Reset,
}

// === impl Pod ===

impl Pod {
    pub fn is_enrolled(&self) -> bool {
        matches!(self.enrolment, Enrolment::Enrolled(_))
    }

    /// Whether the agent of `node` is to capture it.
    pub fn is_captured_by(&self, node: &str) -> bool {
        self.is_enrolled() && self.is_on(node)
    }

    pub fn is_on(&self, node: &str) -> bool {
        self.node.as_deref() == Some(node)
    }
}

// === impl Enrolment ===

impl fmt::Display for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enrolled(by) => write!(f, "enrolled by {by}"),
            Self::NotEnrolled(why) => write!(f, "not enrolled: {why}"),
        }
    }
}

// === impl Uncaptured ===

impl fmt::Display for Uncaptured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostNetwork { asked_by: Some(label) } => {
                return write!(f, "the pod uses the host's network, which {label} does not change");
            }
            Self::NoLabel => "no label istio.io/dataplane-mode",
            Self::NoSelector => "no enablementSelector of the configuration matches",
            Self::OptedOut => "pod label istio.io/dataplane-mode=none",
            Self::HostNetwork { asked_by: None } => "the pod uses the host's network",
            Self::Sidecar => "the pod has an Istio sidecar (annotation sidecar.istio.io/status)",
            Self::ExcludedNamespace => "the namespace is excluded by configuration",
            Self::Terminal => "the pod has finished",
            Self::NoAddress => "the pod has no address yet",
        })
    }
}

// === impl WhenAgentDown ===

impl fmt::Display for WhenAgentDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
        })
    }
}

// === impl OutboundPolicy ===

impl fmt::Display for OutboundPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AllowAny => "ALLOW_ANY",
            Self::RegistryOnly => "REGISTRY_ONLY",
        })
    }
}
