//! Kubernetes objects, as data. Pure: values in, values out.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use crate::service::{Endpoint, ServiceObject, Target};

pub type Labels = BTreeMap<String, String>;

/// What the manifest of a pod says.
#[derive(Clone, Debug)]
pub struct PodObject {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub node: String,
    /// The annotation `millstream.dev/netns`.
    pub netns: PathBuf,
    pub ips: Vec<IpAddr>,
    pub labels: Labels,
    pub annotations: Labels,
    pub service_account: String,
    /// `spec.hostname` and `spec.subdomain`, as pods of a StatefulSet have them.
    pub hostname: Option<(String, String)>,
    /// Named container ports.
    pub ports: Vec<(String, u16)>,
}

/// Sets or, with `None`, removes.
pub(crate) fn set_label(labels: &mut Labels, key: &str, value: Option<&str>) {
    match value {
        Some(value) => labels.insert(key.to_owned(), value.to_owned()),
        None => labels.remove(key),
    };
}

/// What can be said of a namespace.
#[derive(Debug, Default)]
pub(crate) struct NamespaceObject {
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
}

pub(crate) fn namespace(name: &str, namespace: &NamespaceObject) -> Value {
    let NamespaceObject { labels, annotations } = namespace;
    let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

pub(crate) fn pod(pod: &PodObject) -> Value {
    let PodObject {
        namespace,
        name,
        uid,
        node,
        netns,
        ips,
        labels,
        annotations,
        service_account,
        hostname,
        ports,
    } = pod;
    let (hostname, subdomain) = hostname.clone().unzip();
    let mut annotations = annotations.clone();
    annotations.entry("millstream.dev/netns".to_owned()).or_insert_with(|| netns.display().to_string());
    let ports: Vec<_> = ports
        .iter()
        .map(|(name, number)| json!({"name": name, "containerPort": number, "protocol": "TCP"}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": uid,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "nodeName": node,
            "serviceAccountName": service_account,
            "hostname": hostname,
            "subdomain": subdomain,
            "containers": [{"name": "main", "image": "example", "ports": ports}],
        },
        "status": {
            "phase": "Running",
            "podIP": ips.first(),
            "podIPs": ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>(),
        },
    })
}

pub(crate) fn service(service: &ServiceObject) -> Value {
    let ServiceObject { namespace, name, vips, ports, selector, client_ip_affinity, local, endpoints: _ } =
        service;
    let ports: Vec<_> = ports
        .iter()
        .map(|port| {
            let target = match &port.target {
                Target::Number(number) => json!(number),
                Target::Name(name) => json!(name),
            };
            json!({"name": port.name, "port": port.number, "targetPort": target, "protocol": "TCP"})
        })
        .collect();
    let mut spec = json!({
        "clusterIP": vips.first().map_or("None".to_owned(), IpAddr::to_string),
        "clusterIPs": if vips.is_empty() { json!(["None"]) } else { json!(vips) },
        "ports": ports,
        "selector": selector,
    });
    if let Some(timeout) = client_ip_affinity {
        spec["sessionAffinity"] = json!("ClientIP");
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": timeout.as_secs()}});
    }
    if *local {
        spec["internalTrafficPolicy"] = json!("Local");
    }
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    })
}

/// One slice per address family and set of port numbers, as the endpoint slice controller makes them: pods
/// may give different numbers to a named port.
pub(crate) fn endpoint_slices(service: &ServiceObject) -> Vec<Value> {
    let mut groups: BTreeMap<(&str, Vec<u16>), Vec<Value>> = BTreeMap::new();
    for endpoint in &service.endpoints {
        let Some(numbers) = resolve_ports(service, endpoint) else { continue };
        for ip in &endpoint.pod.ips {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            groups.entry((family, numbers.clone())).or_default().push(endpoint_value(service, endpoint, *ip));
        }
    }
    let slices = groups.into_iter().enumerate();
    slices
        .map(|(index, ((family, numbers), members))| slice(service, index, family, &numbers, &members))
        .collect()
}

fn slice(service: &ServiceObject, index: usize, family: &str, numbers: &[u16], members: &[Value]) -> Value {
    let ports: Vec<_> = service
        .ports
        .iter()
        .zip(numbers)
        .map(|(port, number)| json!({"name": port.name, "port": number, "protocol": "TCP"}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": service.namespace,
            "name": format!("{}-{index}", service.name),
            "labels": {"kubernetes.io/service-name": service.name},
        },
        "addressType": family,
        "ports": ports,
        "endpoints": members,
    })
}

/// The numbers that the ports of a service have in a pod; `None` where a name is missing there.
fn resolve_ports(service: &ServiceObject, endpoint: &Endpoint) -> Option<Vec<u16>> {
    let resolve = |target: &Target| match target {
        Target::Number(number) => Some(*number),
        Target::Name(name) => endpoint.pod.ports.iter().find(|(n, _)| n == name).map(|(_, number)| *number),
    };
    service.ports.iter().map(|port| resolve(&port.target)).collect()
}

fn endpoint_value(service: &ServiceObject, endpoint: &Endpoint, ip: IpAddr) -> Value {
    let Endpoint { pod, ready, serving, terminating } = endpoint;
    let in_subdomain = pod.hostname.as_ref().filter(|(_, subdomain)| *subdomain == service.name);
    json!({
        "addresses": [ip],
        "hostname": in_subdomain.map(|(hostname, _)| hostname),
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "nodeName": pod.node,
        "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
    })
}

/// `pod-shop-client.yaml`.
pub(crate) fn file_name(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let metadata = ["namespace", "name"].map(|key| object["metadata"][key].as_str());
    let words = [Some(kind.as_str()), metadata[0], metadata[1]];
    format!("{}.yaml", words.into_iter().flatten().collect::<Vec<_>>().join("-"))
}

pub(crate) fn to_yaml(object: &Value) -> Result<String> {
    Ok(serde_saphyr::to_string(object)?)
}

#[cfg(test)]
mod tests;
