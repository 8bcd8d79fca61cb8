//! What the agent tells the cluster of a pod: Istio's annotation, and an Event when something fails.

use std::fmt;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::{
    Api, Client, Error,
    api::{Patch, PatchParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use model::{ObjectName, PodUid};
use serde_json::json;

use crate::index::REDIRECTION;

/// Of Events: who reports.
const CONTROLLER: &str = "millstream-agent";
const FORBIDDEN: u16 = 403;
const NOT_FOUND: u16 = 404;
/// The pod of that name has another UID by now.
const CONFLICT: u16 = 409;

/// Writes to the pods of a node.
#[derive(Clone)]
pub struct StatusWriter {
    client: Client,
    recorder: Recorder,
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("the API server forbids to {what}; the agent's ClusterRole needs {verb}")]
    Forbidden { what: &'static str, verb: &'static str },
    #[error("cannot {what}")]
    Write { what: &'static str, source: Error },
}

// === impl StatusWriter ===

impl fmt::Debug for StatusWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusWriter").finish_non_exhaustive()
    }
}

impl StatusWriter {
    pub fn new(client: Client, node: &str) -> Self {
        let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(node.to_owned()) };
        Self { recorder: Recorder::new(client.clone(), reporter), client }
    }

    /// Sets the annotation `ambient.istio.io/redirection`, or with `None` removes it. A pod that is gone needs none.
    pub async fn annotate(
        &self,
        pod: &ObjectName,
        uid: &PodUid,
        value: Option<&str>,
    ) -> Result<(), WriteError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace);
        let patch = json!({"metadata": {"uid": &*uid.0, "annotations": {REDIRECTION: value}}});
        let patched = pods.patch_status(&pod.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        match patched {
            Err(Error::Api(status)) if [NOT_FOUND, CONFLICT].contains(&status.code) => Ok(()),
            result => {
                result.map(drop).map_err(|e| WriteError::of("annotate pods", "patch on pods/status", e))
            }
        }
    }

    /// An Event of the pod that says why it is not captured. Repetitions are counted in the one that is there.
    pub async fn not_captured(&self, pod: &ObjectName, uid: &PodUid, reason: &str) -> Result<(), WriteError> {
        let event = Event {
            type_: EventType::Warning,
            reason: "NotCaptured".to_owned(),
            note: Some(format!("The pod cannot be captured: {reason}")),
            action: "Capture".to_owned(),
            secondary: None,
        };
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.namespace.to_string()),
            name: Some(pod.name.to_string()),
            uid: Some(uid.0.to_string()),
            ..ObjectReference::default()
        };
        let published = self.recorder.publish(&event, &regarding).await;
        published.map_err(|e| WriteError::of("write Events", "create and patch on events.events.k8s.io", e))
    }
}

// === impl WriteError ===

impl WriteError {
    fn of(what: &'static str, verb: &'static str, error: Error) -> Self {
        match error {
            Error::Api(status) if status.code == FORBIDDEN => Self::Forbidden { what, verb },
            source => Self::Write { what, source },
        }
    }
}
