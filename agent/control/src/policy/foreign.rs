//! What decides which pods a policy selects, of the kinds that Kubernetes itself does not define. The rest of them is
//! not read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use super::scope::{Clause, Scope, selector};
use crate::refusal::Invalid;

/// Rules in `spec`, in `specs`, or in both.
#[derive(Debug, Deserialize)]
pub(super) struct Cilium {
    spec: Option<CiliumRule>,
    specs: Option<Vec<CiliumRule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CiliumRule {
    endpoint_selector: Option<LabelSelector>,
    /// Such a rule is about the node's own traffic, not that of pods.
    node_selector: Option<LabelSelector>,
}

/// AdminNetworkPolicy and its kin.
#[derive(Debug, Deserialize)]
pub(super) struct Admin {
    spec: AdminSpec,
}

#[derive(Debug, Deserialize)]
struct AdminSpec {
    subject: Subject,
}

/// One of the two.
#[derive(Debug, Deserialize)]
struct Subject {
    namespaces: Option<LabelSelector>,
    pods: Option<NamespacedPods>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamespacedPods {
    namespace_selector: LabelSelector,
    pod_selector: LabelSelector,
}

/// It is enough that it looks like a policy.
#[derive(Debug, Deserialize)]
pub(super) struct Opaque {
    #[serde(rename = "spec")]
    _spec: BTreeMap<String, serde_json::Value>,
}

// === impl Cilium ===

impl Cilium {
    pub(super) fn scope(self) -> Result<Scope, Invalid> {
        let Self { spec, specs } = self;
        let spec = spec.map(|rule| ("spec".to_owned(), rule));
        let specs = specs.unwrap_or_default().into_iter().enumerate();
        let rules = spec.into_iter().chain(specs.map(|(n, rule)| (format!("specs[{n}]"), rule)));
        let mut rules = rules.peekable();
        if rules.peek().is_none() {
            return Err(Invalid::new("spec", "is missing, and so is specs"));
        }
        let clauses = rules.filter_map(|(field, rule)| rule.clause(&field).transpose());
        clauses.collect()
    }
}

impl CiliumRule {
    fn clause(self, field: &str) -> Result<Option<Clause>, Invalid> {
        let Self { endpoint_selector, node_selector } = self;
        match (endpoint_selector, node_selector) {
            (Some(written), _) => {
                let pods = selector(&format!("{field}.endpointSelector"), plain(written))?;
                Ok(Some(Clause { pods, ..Clause::default() }))
            }
            (None, Some(_)) => Ok(None),
            (None, None) => Err(Invalid::new(format_args!("{field}.endpointSelector"), "is missing")),
        }
    }
}

/// Cilium's labels come from several sources and are filtered by its configuration, so only this much is sure: what
/// asks for a label of Kubernetes selects no pod without it.
fn plain(written: LabelSelector) -> LabelSelector {
    let LabelSelector { match_labels, match_expressions } = written;
    let match_labels = match_labels.unwrap_or_default().into_iter();
    let match_expressions = match_expressions.unwrap_or_default().into_iter();
    LabelSelector {
        match_labels: Some(match_labels.filter_map(|(key, value)| Some((plain_key(&key)?, value))).collect()),
        match_expressions: Some(
            match_expressions
                .filter(|e| !matches!(&*e.operator, "NotIn" | "DoesNotExist"))
                .filter_map(|mut e| {
                    e.key = plain_key(&e.key)?;
                    Some(e)
                })
                .collect(),
        ),
    }
}

/// The key of a label that the pod's manifest has, or else none.
fn plain_key(key: &str) -> Option<String> {
    let key = key.strip_prefix("k8s:").or_else(|| key.strip_prefix("any:")).unwrap_or(key);
    let made_by_cilium = key.starts_with("io.kubernetes.pod.") || key.starts_with("io.cilium.k8s.");
    (!made_by_cilium && !key.contains(':')).then(|| key.to_owned())
}

// === impl Admin ===

impl Admin {
    pub(super) fn scope(self) -> Result<Scope, Invalid> {
        let Subject { namespaces, pods } = self.spec.subject;
        let clause = match (namespaces, pods) {
            (Some(namespaces), None) => {
                Clause { namespaces: selector("spec.subject.namespaces", namespaces)?, ..Clause::default() }
            }
            (None, Some(NamespacedPods { namespace_selector, pod_selector })) => Clause {
                namespaces: selector("spec.subject.pods.namespaceSelector", namespace_selector)?,
                pods: selector("spec.subject.pods.podSelector", pod_selector)?,
            },
            (None, None) | (Some(_), Some(_)) => {
                return Err(Invalid::new("spec.subject", "needs one of namespaces and pods"));
            }
        };
        Ok([clause].into_iter().collect())
    }
}
