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
use tokio::time::timeout;

use super::request::ANSWER;
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
    #[error("cannot {what}: the API server has not answered for {} s", ANSWER.as_secs())]
    Silent { what: &'static str },
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
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = async {
            match pods.patch_status(&pod.name, &params, &patch).await {
                Err(Error::Api(status)) if [NOT_FOUND, CONFLICT].contains(&status.code) => Ok(()),
                result => result.map(drop),
            }
        };
        answered("annotate pods", "patch on pods/status", patched).await
    }

    /// An Event of the pod that says why it is not captured. Repetitions are counted in the one that is there.
    pub async fn not_captured(&self, pod: &ObjectName, uid: &PodUid, reason: &str) -> Result<(), WriteError> {
        self.warn(pod, uid, "NotCaptured", format!("The pod cannot be captured: {reason}")).await
    }

    /// An Event of a pod that has started without being captured first.
    pub async fn captured_late(&self, pod: &ObjectName, uid: &PodUid) -> Result<(), WriteError> {
        let note = "The pod is captured now, and was not when it started: no agent ran on its node, or somebody had taken \
                    the CNI plugin out of the chain. Its connections until now are outside the mesh, and those that \
                    are still open stay so";
        self.warn(pod, uid, "CapturedLate", note.to_owned()).await
    }

    async fn warn(
        &self,
        pod: &ObjectName,
        uid: &PodUid,
        reason: &str,
        note: String,
    ) -> Result<(), WriteError> {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note),
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
        let published = self.recorder.publish(&event, &regarding);
        answered("write Events", "create and patch on events.events.k8s.io", published).await
    }
}

/// The client itself waits much longer: it also watches.
async fn answered(
    what: &'static str,
    verb: &'static str,
    request: impl Future<Output = Result<(), Error>>,
) -> Result<(), WriteError> {
    match timeout(ANSWER, request).await {
        Err(_) => Err(WriteError::Silent { what }),
        Ok(Err(Error::Api(status))) if status.code == FORBIDDEN => Err(WriteError::Forbidden { what, verb }),
        Ok(result) => result.map_err(|source| WriteError::Write { what, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kube::Config;
    use tokio::{net::TcpListener, time::Instant};

    use super::*;

    /// The clock is the runtime's, and goes on by itself where there is nothing to do but to wait.
    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_takes_a_request_and_never_answers_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut config = Config::new(url.parse().unwrap());
        config.connect_timeout = None;
        let writer = StatusWriter::new(Client::try_from(config).unwrap(), "a");
        let (pod, uid) = (ObjectName::new("shop", "cart"), PodUid::new("uid"));
        let begun = Instant::now();
        let annotated = writer.annotate(&pod, &uid, Some("enabled")).await;
        assert!(matches!(annotated, Err(WriteError::Silent { what: "annotate pods" })), "{annotated:?}");
        let told = writer.not_captured(&pod, &uid, "no process").await;
        assert!(matches!(told, Err(WriteError::Silent { what: "write Events" })), "{told:?}");
        assert!(begun.elapsed() < 2 * ANSWER + Duration::from_secs(1));
    }
}
