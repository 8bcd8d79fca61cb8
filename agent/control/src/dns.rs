//! What becomes of a pod's DNS queries, and what its resolver makes of short names.

use std::{collections::BTreeMap, sync::Arc};

use allocation::AllocationConfig;
use k8s_openapi::api::core::v1::PodSpec;
use model::PodDns;

use crate::refusal::Invalid;

/// Istio's, on a pod: whether its queries go through the proxy.
const CAPTURE: &str = "ambient.istio.io/dns-capture";
const CAPTURE_FIELD: &str = "metadata.annotations[ambient.istio.io/dns-capture]";

/// What the node's configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Of pods that say nothing themselves.
    pub capture: bool,
    /// What the names of the cluster's Services end in: in lower case, without the last dot.
    pub cluster_domain: Arc<str>,
    /// How hosts without addresses of their own get some.
    pub allocation: AllocationConfig,
}

/// What a pod says of its DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DnsWishes {
    capture: Option<bool>,
    /// Whether the search list of the cluster comes first.
    is_cluster_first: bool,
    searches: Vec<Arc<str>>,
}

// === impl DnsConfig ===

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            capture: true,
            cluster_domain: "cluster.local".into(),
            allocation: AllocationConfig::default(),
        }
    }
}

// === impl DnsWishes ===

impl DnsWishes {
    /// `host_network`: the pod's resolver is the node's, unless it asks for the cluster's.
    pub(crate) fn read(
        annotations: &BTreeMap<String, String>,
        spec: Option<&PodSpec>,
        host_network: bool,
    ) -> (Self, Option<Invalid>) {
        let (capture, objection) = match annotations.get(CAPTURE).map(String::as_str) {
            None => (None, None),
            Some("true") => (Some(true), None),
            Some("false") => (Some(false), None),
            Some(other) => {
                let reason = format_args!("{other:?} is not one of true, false; it is ignored");
                (None, Some(Invalid::new(CAPTURE_FIELD, reason)))
            }
        };
        let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
        let is_cluster_first = match policy {
            "ClusterFirstWithHostNet" => true,
            "Default" | "None" => false,
            // Also where the API server would have refused it: the kubelet takes it for that.
            _ => !host_network,
        };
        let written = spec.and_then(|spec| spec.dns_config.as_ref()?.searches.as_deref()).unwrap_or_default();
        let searches = written.iter().map(|domain| normal(domain)).filter(|domain| !domain.is_empty());
        (Self { capture, is_cluster_first, searches: searches.collect() }, objection)
    }

    pub(crate) fn of_pod(&self, namespace: &str, config: &DnsConfig) -> PodDns {
        let domain = &config.cluster_domain;
        let mut search: Vec<Arc<str>> = Vec::new();
        if self.is_cluster_first {
            search.extend([
                format!("{namespace}.svc.{domain}").into(),
                format!("svc.{domain}").into(),
                domain.clone(),
            ]);
        }
        // As the kubelet does: nothing twice.
        for domain in &self.searches {
            if !search.contains(domain) {
                search.push(domain.clone());
            }
        }
        PodDns { captured: self.capture.unwrap_or(config.capture), search }
    }
}

/// As names are compared: in lower case, without the last dot.
fn normal(domain: &str) -> Arc<str> {
    domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests;
