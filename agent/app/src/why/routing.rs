//! What the proxy would do with it.

use std::net::SocketAddr;

use model::{EndpointAddr, OriginalDst};
use route::{Journey, Resolution};

use super::{Facts, Story};
use crate::api::Verdict;

/// resolve → select → deliver | forward
pub(super) fn proxied(story: &mut Story, facts: &Facts<'_>, destination: SocketAddr) -> (Verdict, String) {
    let Facts { snapshot, node, same_node, pod: client, .. } = facts;
    let version = snapshot.version;
    let dialled = OriginalDst(destination);
    let way = |endpoint: EndpointAddr| {
        let journey = Journey { client: &client.uid, dialled, endpoint };
        route::way(snapshot, *same_node, journey, |pod| pod.is_captured_by(node)).to_string()
    };
    match route::resolve(snapshot, node, dialled) {
        Resolution::Service { service, port, candidates } => {
            let count = candidates.iter().count();
            story.tell(
                "resolve",
                format!("service {} port {port}", service.name),
                format!("snapshot {version}: {count} endpoint{}", if count == 1 { "" } else { "s" }),
            );
            for endpoint in candidates.iter() {
                story.tell("select", format!("perhaps {}", endpoint.addr), way(endpoint.addr));
            }
            (Verdict::Proxied, format!("goes through the proxy to service {}", service.name))
        }
        Resolution::Pod { pod, endpoint, .. } => {
            story.tell(
                "resolve",
                format!("pod {}", pod.name),
                format!("snapshot {version}: address of the pod"),
            );
            story.tell("select", endpoint.to_string(), way(endpoint));
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
