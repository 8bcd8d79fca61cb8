//! One pod, asked for by name: what the watch may not have shown yet.

use std::{net::IpAddr, time::Duration};

use k8s_openapi::api::core::v1::{Namespace, Pod, PodIP};
use kube::{Api, Client};
use model::ObjectName;

use super::request::ask;
use crate::{
    index::{Index, IndexConfig},
    object::Object,
    refusal::Refusal,
};

/// A pod waits for it before it starts, and its kubelet tries again.
const ANSWER: Duration = Duration::from_secs(10);

/// Asks the API server for pods.
#[derive(Clone)]
pub struct PodLookup {
    pub(super) client: Client,
    pub(super) config: IndexConfig,
}

#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("the API server does not tell of it: {0}")]
    Request(String),
    #[error("it makes no sense")]
    Refused(#[from] Refusal),
}

// === impl PodLookup ===

impl PodLookup {
    /// The pod and its namespace as they are now, with the addresses that its network has given it and that nobody has
    /// told the API server yet. `None`: there is no such pod.
    pub async fn pod(&self, name: &ObjectName, ips: &[IpAddr]) -> Result<Option<model::Pod>, LookupError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &name.namespace);
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let both = async { tokio::try_join!(pods.get_opt(&name.name), namespaces.get_opt(&name.namespace)) };
        let (Some(mut pod), Some(namespace)) = ask(ANSWER, both)
            .await
            .map_err(|e| LookupError::Request(e.explain("get on pods and namespaces")))?
        else {
            return Ok(None);
        };
        let status = pod.status.get_or_insert_default();
        // Those of a sandbox before this one.
        status.pod_ip = None;
        status.pod_ips = Some(ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect());
        let mut index = Index::new(self.config.clone());
        index.apply(&Object::Namespace(Box::new(namespace)))?;
        index.apply(&Object::Pod(Box::new(pod)))?;
        Ok(index.snapshot(1).pod_by_name(name).map(|pod| (**pod).clone()))
    }
}

impl std::fmt::Debug for PodLookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodLookup").finish_non_exhaustive()
    }
}
