//! What the proxy would do with it.

use std::net::SocketAddr;

use model::{Discovery, EndpointAddr, OriginalDst};
use route::{Client, Journey, Resolution};

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
    match route::resolve(snapshot, Client::pod(client, node), dialled) {
        Resolution::Service { service, port, candidates } => {
            let count = counted(candidates.iter().count(), "endpoint");
            story.tell(
                "resolve",
                format!("service {} port {port}", service.name),
                format!("snapshot {version}: {count}"),
            );
            for endpoint in candidates.iter() {
                let weight = candidates.weight_of(endpoint.addr);
                let weight = weight.map_or(String::new(), |weight| format!(", weight {weight}"));
                story.tell("select", format!("perhaps {}{weight}", endpoint.addr), way(endpoint.addr));
            }
            (Verdict::Proxied, format!("goes through the proxy to service {}", service.name))
        }
        Resolution::Names { service, port, names } => {
            story.tell(
                "resolve",
                format!("service {} port {port}", service.name),
                format!("snapshot {version}: {}", counted(names.len(), "name")),
            );
            let which = match service.discovery {
                Discovery::DnsRoundRobin => "resolved by the proxy: its first address (DNS_ROUND_ROBIN)",
                _ => "resolved by the proxy: any of its addresses (DNS)",
            };
            for name in names {
                story.tell("select", format!("perhaps {name}"), which);
            }
            (Verdict::Proxied, format!("goes through the proxy to service {}", service.name))
        }
        Resolution::Pod { pod, endpoint, service } => {
            let evidence = match service {
                Some(service) => format!("snapshot {version}: address of the pod, of service {service}"),
                None => format!("snapshot {version}: address of the pod"),
            };
            story.tell("resolve", format!("pod {}", pod.name), evidence);
            story.tell("select", endpoint.to_string(), way(endpoint));
            (Verdict::Proxied, format!("goes through the proxy to pod {}", pod.name))
        }
        Resolution::Passthrough { endpoint, service: Some(service) } => {
            story.tell(
                "resolve",
                format!("service {service}: passthrough"),
                format!("snapshot {version}: its endpoint is what was dialled"),
            );
            (Verdict::Proxied, format!("goes through the proxy to {endpoint}, of service {service}"))
        }
        Resolution::Passthrough { endpoint, service: None } => {
            story.tell(
                "resolve",
                "passthrough",
                format!("snapshot {version}: nobody known has {}", endpoint.ip()),
            );
            (Verdict::Proxied, format!("goes through the proxy to {endpoint}, which is outside the mesh"))
        }
        Resolution::Refuse { dialled, service, because } => {
            let evidence = match service {
                Some(service) => {
                    format!("snapshot {version}: service {} port {}", service.name, dialled.port())
                }
                None => format!("snapshot {version}: nobody known has {dialled}"),
            };
            story.tell("resolve", "refused", evidence);
            (Verdict::Refused, format!("is reset by the proxy: {because}"))
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
