//! What the proxy would do with it.

use std::net::SocketAddr;

use model::{OriginalDst, PodUid};
use route::Resolution;

use super::{Facts, Story};
use crate::api::Verdict;

/// resolve → select → deliver | forward
pub(super) fn proxied(story: &mut Story, facts: &Facts<'_>, destination: SocketAddr) -> (Verdict, String) {
    let Facts { snapshot, node, .. } = facts;
    let version = snapshot.version;
    let way = |uid: Option<&PodUid>| match uid.and_then(|uid| snapshot.pod(uid)) {
        Some(pod) if pod.is_captured_by(node) => {
            format!("{}, delivered in its namespace", pod.name)
        }
        Some(pod) => format!("{}, forwarded", pod.name),
        None => "forwarded".to_owned(),
    };
    match route::resolve(snapshot, node, OriginalDst(destination)) {
        Resolution::Service { service, port, candidates } => {
            let count = candidates.iter().count();
            story.tell(
                "resolve",
                format!("service {} port {port}", service.name),
                format!("snapshot {version}: {count} endpoint{}", if count == 1 { "" } else { "s" }),
            );
            for endpoint in candidates.iter() {
                story.tell("select", format!("perhaps {}", endpoint.addr), way(endpoint.pod.as_ref()));
            }
            (Verdict::Proxied, format!("goes through the proxy to service {}", service.name))
        }
        Resolution::Pod { pod, endpoint, .. } => {
            story.tell(
                "resolve",
                format!("pod {}", pod.name),
                format!("snapshot {version}: address of the pod"),
            );
            story.tell("select", endpoint.to_string(), way(Some(&pod.uid)));
            (Verdict::Proxied, format!("goes through the proxy to pod {}", pod.name))
        }
        Resolution::Passthrough { endpoint } => {
            story.tell(
                "resolve",
                "passthrough",
                format!("snapshot {version}: nobody known has {}", endpoint.ip()),
            );
            (Verdict::Proxied, format!("goes through the proxy to {endpoint}, which is outside the mesh"))
        }
        Resolution::Refuse { service, port, because } => {
            story.tell(
                "resolve",
                "refused",
                format!("snapshot {version}: service {} port {port}", service.name),
            );
            (Verdict::Refused, format!("is reset by the proxy: {because}"))
        }
    }
}
