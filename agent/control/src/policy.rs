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

use crate::{kind::PolicyKind, refusal::Invalid};

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
