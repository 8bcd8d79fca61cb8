//! Namespaces: labels that enrol, and annotations that hold for the pods in them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use model::{ExistingConnections, OutboundPolicy, WhenAgentDown};

use crate::{enrolment, field, refusal::Invalid};

/// The API server gives this label to every namespace; selectors rely on it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NamespaceEntry {
    pub(super) labels: BTreeMap<String, String>,
    /// Where the namespace says it; the configuration otherwise.
    pub(super) when_agent_down: Option<WhenAgentDown>,
    pub(super) existing_connections: ExistingConnections,
    /// Where the namespace says it; the configuration otherwise.
    pub(super) outbound_policy: Option<OutboundPolicy>,
    pub(super) objections: Vec<Invalid>,
}

// === impl NamespaceEntry ===

impl NamespaceEntry {
    pub(super) fn parse(namespace: &Namespace) -> Self {
        let metadata = &namespace.metadata;
        let annotations = field::or_empty(metadata.annotations.as_ref());
        let mut objections = Vec::new();
        let when_agent_down = enrolment::when_agent_down(annotations).unwrap_or_else(|invalid| {
            objections.push(invalid);
            // To keep `open` because somebody misspelt it would be worse than to fall back to what is safe.
            Some(WhenAgentDown::Closed)
        });
        let existing_connections = enrolment::existing_connections(annotations).unwrap_or_else(|invalid| {
            objections.push(invalid);
            None
        });
        let outbound_policy = enrolment::outbound_policy(annotations).unwrap_or_else(|invalid| {
            objections.push(invalid);
            // Somebody wanted a policy of this namespace's own: the strict one cannot be less than that.
            Some(OutboundPolicy::RegistryOnly)
        });
        let mut entry = Self::unknown(metadata.name.as_deref().unwrap_or_default());
        entry.labels.extend(metadata.labels.clone().unwrap_or_default());
        let existing_connections = existing_connections.unwrap_or_default();
        Self { when_agent_down, existing_connections, outbound_policy, objections, ..entry }
    }

    /// What is known of a namespace whose object has not been seen.
    pub(super) fn unknown(name: &str) -> Self {
        let labels = [(NAME_LABEL.to_owned(), name.to_owned())].into();
        Self { labels, ..Self::default() }
    }
}
