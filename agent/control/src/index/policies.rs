//! Network policies: of each pod one is noted that may select it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::pods::PodEntry;
use crate::{
    kind::{Kind, ObjectKey, PolicyKind},
    policy::{Policy, Scope},
    refusal::Invalid,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PolicyEntry {
    scope: Scope,
    pub(super) objections: Vec<Invalid>,
}

/// The policies, each with what it is called, by the namespace whose pods they are about; `None` for all.
#[derive(Default)]
pub(super) struct Policies<'a>(HashMap<Option<&'a str>, Vec<(Arc<str>, &'a PolicyEntry)>>);

// === impl PolicyEntry ===

impl PolicyEntry {
    pub(super) fn parse(policy: &Policy) -> Self {
        Self { scope: policy.scope.clone(), objections: policy.objection.iter().cloned().collect() }
    }

    /// In the place of policies that are not known: one that belongs to no namespace, whatever its kind.
    pub(super) fn assumed(kind: PolicyKind) -> (ObjectKey, Self) {
        let key = ObjectKey { kind: Kind::Policy(kind), namespace: None, name: "not known yet".into() };
        (key, Self { scope: Scope::everything(), objections: Vec::new() })
    }
}

// === impl Policies ===

impl<'a> Policies<'a> {
    pub(super) fn add(&mut self, key: &'a ObjectKey, policy: &'a PolicyEntry) {
        self.0.entry(key.namespace.as_deref()).or_default().push((key.to_string().into(), policy));
    }

    /// The first that may select the pod. `namespace` has the labels of its namespace, if that has been seen.
    pub(super) fn first_over(
        &self,
        pod: &PodEntry,
        namespace: Option<&BTreeMap<String, String>>,
    ) -> Option<Arc<str>> {
        let facts = pod.facts();
        let own = self.0.get(&Some(facts.namespace));
        let everywhere = self.0.get(&None);
        own.into_iter()
            .chain(everywhere)
            .flatten()
            .find(|(_, policy)| policy.scope.may_select(facts.labels, namespace))
            .map(|(name, _)| Arc::clone(name))
    }
}
