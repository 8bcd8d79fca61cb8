//! The taint that keeps pods from a node whose agent is not ready yet.

use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::request::{ANSWER, ask};

/// Whoever makes nodes sets it on them.
const NOT_READY: &str = "millstream.dev/agent-not-ready";

/// Takes the taint from the node. `false`: it had none.
///
/// # Errors
///
/// In one line, why not. To be tried again: another may have changed the taints meanwhile.
pub async fn remove_startup_taint(client: &Client, node: &str) -> Result<bool, String> {
    let nodes: Api<Node> = Api::all(client.clone());
    let remove = async {
        let found = nodes.get(node).await?;
        let taints = found.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let kept: Vec<_> = taints.iter().filter(|taint| taint.key != NOT_READY).collect();
        if kept.len() == taints.len() {
            return Ok(false);
        }
        // The version makes it a conflict if somebody else was faster.
        let patch = json!({
            "metadata": { "resourceVersion": found.metadata.resource_version },
            "spec": { "taints": kept },
        });
        nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| true)
    };
    ask(ANSWER, remove).await.map_err(|e| e.explain("get and patch on nodes"))
}
