//! Istio's ServiceEntry: the fields of it that are read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use crate::refusal::Invalid;

/// Hosts that are services of the mesh, though no Service of the cluster says so.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceEntry {
    pub metadata: ObjectMeta,
    /// Or which field makes no sense.
    pub(crate) written: Result<Written, Invalid>,
    /// As it stands there, for whoever writes it.
    pub(crate) status: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Written {
    pub(crate) spec: Option<Spec>,
    pub(crate) status: Option<Status>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) hosts: Option<Vec<String>>,
    pub(crate) addresses: Option<Vec<String>>,
    pub(crate) ports: Option<Vec<Port>>,
    pub(crate) resolution: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) endpoints: Option<Vec<Endpoint>>,
    pub(crate) workload_selector: Option<WorkloadSelector>,
    pub(crate) export_to: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port {
    pub(crate) number: i32,
    pub(crate) protocol: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) target_port: Option<i32>,
}

/// Its place and identity are not read: nothing chooses by them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) address: Option<String>,
    /// By the name of the entry's port.
    pub(crate) ports: Option<BTreeMap<String, i32>>,
    pub(crate) weight: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct WorkloadSelector {
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Status {
    pub(crate) addresses: Option<Vec<StatusAddress>>,
}

/// What an allocator has given to one host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct StatusAddress {
    pub(crate) value: Option<String>,
    pub(crate) host: Option<String>,
}

// === impl ServiceEntry ===

impl ServiceEntry {
    /// Of `manifest` everything but the metadata. What cannot be read is refused by the index, so that the last good
    /// version stays.
    pub(crate) fn read(metadata: ObjectMeta, manifest: &Value) -> Self {
        let written = serde_path_to_error::deserialize(manifest);
        Self {
            metadata,
            written: written.map_err(|e| Invalid::new(e.path(), e.inner())),
            status: manifest.get("status").filter(|status| !status.is_null()).cloned(),
        }
    }
}
