//! How the objects that the agent reads are called.

use std::{fmt, sync::Arc};

use model::ObjectName;

use crate::printable::printable;

/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// They are all the same in what is read of them.
const SERVICE_ENTRY_VERSIONS: [&str; 3] =
    ["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"];

/// From Kubernetes 1.33 on.
const SERVICE_CIDR_VERSION: &str = "networking.k8s.io/v1";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Namespace,
    Node,
    Pod,
    Service,
    EndpointSlice,
    /// Istio's.
    ServiceEntry,
    /// The networks of which Services are given their addresses.
    ServiceCidr,
    Policy(PolicyKind),
}

/// Which object: there is at most one of each key. Written `Pod shop/cart`, or `Node a`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    pub kind: Kind,
    /// `None` for the kinds that belong to the whole cluster.
    pub namespace: Option<Arc<str>>,
    pub name: Arc<str>,
}

/// The kinds that can keep two pods from each other. Calico's staged policies do not act, so they are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyKind {
    Kubernetes,
    Cilium,
    CiliumClusterwide,
    Calico,
    CalicoGlobal,
    Antrea,
    AntreaCluster,
    Admin,
    BaselineAdmin,
    /// Follows upon the two before.
    Cluster,
}

// === impl Kind ===

impl Kind {
    /// What is written as `apiVersion` and `kind`; `None` if it is of no interest.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        match (api_version, kind) {
            ("v1", "Namespace") => Some(Self::Namespace),
            ("v1", "Node") => Some(Self::Node),
            ("v1", "Pod") => Some(Self::Pod),
            ("v1", "Service") => Some(Self::Service),
            ("discovery.k8s.io/v1", "EndpointSlice") => Some(Self::EndpointSlice),
            (SERVICE_CIDR_VERSION, "ServiceCIDR") => Some(Self::ServiceCidr),
            (version, "ServiceEntry") if SERVICE_ENTRY_VERSIONS.contains(&version) => {
                Some(Self::ServiceEntry)
            }
            _ => PolicyKind::of(api_version, kind).map(Self::Policy),
        }
    }

    /// What an object was meant to be, even if its `apiVersion` is wrong or missing.
    pub(crate) fn meant(api_version: &str, kind: &str) -> Option<Self> {
        let any_version = match kind {
            "EndpointSlice" => "discovery.k8s.io/v1",
            "ServiceEntry" => SERVICE_ENTRY_VERSIONS[0],
            "ServiceCIDR" => SERVICE_CIDR_VERSION,
            _ => "v1",
        };
        Self::of(api_version, kind).or_else(|| Self::of(any_version, kind))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::ServiceEntry => "ServiceEntry",
            Self::ServiceCidr => "ServiceCIDR",
            Self::Policy(policy) => policy.name(),
        }
    }

    /// Whether it is not every API server's own, so that there may be no such kind.
    pub(crate) fn may_come_later(self) -> bool {
        match self {
            Self::Policy(policy) => policy != PolicyKind::Kubernetes,
            Self::ServiceEntry | Self::ServiceCidr => true,
            Self::Namespace | Self::Node | Self::Pod | Self::Service | Self::EndpointSlice => false,
        }
    }

    pub fn is_namespaced(self) -> bool {
        match self {
            Self::Namespace | Self::Node | Self::ServiceCidr => false,
            Self::Pod | Self::Service | Self::EndpointSlice | Self::ServiceEntry => true,
            Self::Policy(policy) => policy.is_namespaced(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl ObjectKey ===

impl ObjectKey {
    /// An absent or empty namespace is `default`; a kind without namespaces ignores it.
    pub fn new(kind: Kind, namespace: Option<&str>, name: &str) -> Self {
        let namespace = kind
            .is_namespaced()
            .then(|| namespace.filter(|n| !n.is_empty()).unwrap_or(DEFAULT_NAMESPACE).into());
        Self { kind, namespace, name: name.into() }
    }

    /// The name of a namespaced object; for one of the whole cluster the namespace is empty.
    pub(crate) fn object_name(&self) -> ObjectName {
        ObjectName { namespace: self.namespace.clone().unwrap_or_default(), name: self.name.clone() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        match namespace {
            Some(namespace) => write!(f, "{kind} {}/{}", printable(namespace), printable(name)),
            None => write!(f, "{kind} {}", printable(name)),
        }
    }
}

// === impl PolicyKind ===

impl PolicyKind {
    /// Whatever the version: what a later one means is not for us to ignore.
    pub(crate) fn of(api_version: &str, kind: &str) -> Option<Self> {
        let (group, _version) = api_version.split_once('/')?;
        Some(match (group, kind) {
            ("networking.k8s.io", "NetworkPolicy") => Self::Kubernetes,
            ("cilium.io", "CiliumNetworkPolicy") => Self::Cilium,
            ("cilium.io", "CiliumClusterwideNetworkPolicy") => Self::CiliumClusterwide,
            ("projectcalico.org" | "crd.projectcalico.org", "NetworkPolicy") => Self::Calico,
            ("projectcalico.org" | "crd.projectcalico.org", "GlobalNetworkPolicy") => Self::CalicoGlobal,
            ("crd.antrea.io", "NetworkPolicy") => Self::Antrea,
            ("crd.antrea.io", "ClusterNetworkPolicy") => Self::AntreaCluster,
            ("policy.networking.k8s.io", "AdminNetworkPolicy") => Self::Admin,
            ("policy.networking.k8s.io", "BaselineAdminNetworkPolicy") => Self::BaselineAdmin,
            ("policy.networking.k8s.io", "ClusterNetworkPolicy") => Self::Cluster,
            _ => return None,
        })
    }

    /// As people call it: several groups have a `NetworkPolicy`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "NetworkPolicy",
            Self::Cilium => "CiliumNetworkPolicy",
            Self::CiliumClusterwide => "CiliumClusterwideNetworkPolicy",
            Self::Calico => "Calico NetworkPolicy",
            Self::CalicoGlobal => "Calico GlobalNetworkPolicy",
            Self::Antrea => "Antrea NetworkPolicy",
            Self::AntreaCluster => "Antrea ClusterNetworkPolicy",
            Self::Admin => "AdminNetworkPolicy",
            Self::BaselineAdmin => "BaselineAdminNetworkPolicy",
            Self::Cluster => "ClusterNetworkPolicy",
        }
    }

    /// Such a policy selects pods of its own namespace alone.
    pub(crate) fn is_namespaced(self) -> bool {
        match self {
            Self::Kubernetes | Self::Cilium | Self::Calico | Self::Antrea => true,
            Self::CiliumClusterwide
            | Self::CalicoGlobal
            | Self::AntreaCluster
            | Self::Admin
            | Self::BaselineAdmin
            | Self::Cluster => false,
        }
    }
}
