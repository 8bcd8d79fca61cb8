//! Namespaces: labels that enrol, and the annotation that says what happens while no agent runs.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use model::WhenAgentDown;

use crate::{enrolment, field, refusal::Invalid};

/// The API server gives this label to every namespace; selectors rely on it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NamespaceEntry {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) when_agent_down: WhenAgentDown,
    pub(super) objection: Option<Invalid>,
}

// === impl NamespaceEntry ===

impl NamespaceEntry {
    pub(super) fn parse(namespace: &Namespace) -> Self {
        let metadata = &namespace.metadata;
        let annotations = field::or_empty(metadata.annotations.as_ref());
        let (when_agent_down, objection) = match enrolment::when_agent_down(annotations) {
            Ok(when_agent_down) => (when_agent_down, None),
            // To keep `open` because somebody misspelt it would be worse than to fall back to what is safe.
            Err(invalid) => (WhenAgentDown::Closed, Some(invalid)),
        };
        let mut entry = Self::unknown(metadata.name.as_deref().unwrap_or_default());
        entry.labels.extend(metadata.labels.clone().unwrap_or_default());
        Self { when_agent_down, objection, ..entry }
    }

    /// What is known of a namespace whose object has not been seen.
    pub(super) fn unknown(name: &str) -> Self {
        let labels = [(NAME_LABEL.to_owned(), name.to_owned())].into();
        Self { labels, ..Self::default() }
    }
}
