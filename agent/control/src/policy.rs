//! Network policies. None of them is evaluated here: somebody else drops packets by them, where packets cross the
//! node. What must be known is which pods one *may* select, for what goes to or from such a pod has to cross there.
//!
//! So every doubt is decided in favour of the policy. A requirement that is not understood is left out, which
//! selects more; a policy that makes no sense may select every pod that its kind could.

use k8s_openapi::{
    api::networking::v1::NetworkPolicy, apimachinery::pkg::apis::meta::v1::ObjectMeta,
    serde::de::DeserializeOwned,
};
use serde_json::Value;

use crate::refusal::Invalid;

pub(crate) use self::scope::Scope;

mod foreign;
mod scope;

/// A policy of whatever kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub kind: PolicyKind,
    /// Name and namespace, and nothing else.
    pub metadata: ObjectMeta,
    pub(crate) scope: Scope,
    /// What makes no sense in it.
    pub(crate) objection: Option<Invalid>,
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

/// Said after the reason for which a policy makes no sense.
const CONSEQUENCE: &str = "until it is mended it may select every pod that it could";

// === impl Policy ===

impl Policy {
    /// Always gives a policy: one that nobody understands holds all the same where it was meant for.
    pub(crate) fn read(kind: PolicyKind, manifest: &Value) -> Self {
        match scope(kind, manifest) {
            Ok(scope) => Self { kind, metadata: metadata(manifest), scope, objection: None },
            Err(Invalid { field, reason }) => Self::unreadable(kind, manifest, field, &reason),
        }
    }

    /// A policy of which nothing but the name is sure.
    pub(crate) fn unreadable(kind: PolicyKind, manifest: &Value, field: String, reason: &str) -> Self {
        let objection = Invalid::new(field, format_args!("{reason}; {CONSEQUENCE}"));
        Self { kind, metadata: metadata(manifest), scope: Scope::everything(), objection: Some(objection) }
    }
}

fn metadata(manifest: &Value) -> ObjectMeta {
    let text = |field: &str| manifest["metadata"][field].as_str().map(str::to_owned);
    ObjectMeta { name: text("name"), namespace: text("namespace"), ..ObjectMeta::default() }
}

fn scope(kind: PolicyKind, manifest: &Value) -> Result<Scope, Invalid> {
    match kind {
        PolicyKind::Kubernetes => {
            let policy: NetworkPolicy = typed(manifest)?;
            let selector = policy.spec.and_then(|spec| spec.pod_selector).unwrap_or_default();
            Scope::of_pods("spec.podSelector", selector)
        }
        PolicyKind::Cilium | PolicyKind::CiliumClusterwide => typed::<foreign::Cilium>(manifest)?.scope(),
        PolicyKind::Admin | PolicyKind::BaselineAdmin | PolicyKind::Cluster => {
            typed::<foreign::Admin>(manifest)?.scope()
        }
        // Their selectors are languages of their own.
        PolicyKind::Calico | PolicyKind::CalicoGlobal | PolicyKind::Antrea | PolicyKind::AntreaCluster => {
            typed::<foreign::Opaque>(manifest).map(|_| Scope::everything())
        }
    }
}

fn typed<T: DeserializeOwned>(manifest: &Value) -> Result<T, Invalid> {
    serde_path_to_error::deserialize(manifest).map_err(|e| Invalid::new(e.path(), e.inner()))
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
