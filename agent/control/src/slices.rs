//! The work of the EndpointSlice controller, for a folder of manifests, where there is none.
//!
//! A service that has a selector and that no slice names gets slices made from the pods that it selects. As soon as
//! somebody writes a slice for it, the derived ones are no longer made.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::{
        core::v1::{ContainerPort, ObjectReference, Pod, PodStatus, Service, ServicePort, ServiceSpec},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

use crate::{field, kind::DEFAULT_NAMESPACE, object::Object};

/// The label that says whose endpoints these are.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What the endpoints of one slice have in common. A port *name* may mean another number in each pod, so the numbers
/// are part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SliceShape {
    address_type: &'static str,
    ports: Vec<(String, i32)>,
}

/// The slices that are missing among `objects`.
pub fn derive<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Vec<Object> {
    let (mut services, mut pods, mut served) = (Vec::new(), Vec::new(), BTreeSet::new());
    for object in objects {
        match object {
            Object::Service(service) => services.push(service),
            Object::Pod(pod) => pods.push(pod),
            Object::EndpointSlice(slice) => {
                let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME));
                served.extend(service.map(|service| (namespace(&slice.metadata), service.as_str())));
            }
            Object::Namespace(_) | Object::Node(_) | Object::Policy(_) => {}
            Object::ServiceEntry(_) | Object::ServiceCidr(_) => {}
        }
    }
    let mut slices = Vec::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty());
        let Some(selector) = selector else { continue };
        let name = service.metadata.name.as_deref().unwrap_or_default();
        if spec.type_.as_deref() == Some("ExternalName")
            || served.contains(&(namespace(&service.metadata), name))
        {
            continue;
        }
        let selected = pods.iter().filter(|pod| {
            namespace(&pod.metadata) == namespace(&service.metadata) && has_labels(pod, selector)
        });
        slices.extend(of_service(service, spec, selected.map(|pod| &***pod)));
    }
    slices
}

fn of_service<'a>(service: &Service, spec: &ServiceSpec, pods: impl Iterator<Item = &'a Pod>) -> Vec<Object> {
    let mut endpoints: BTreeMap<SliceShape, Vec<Endpoint>> = BTreeMap::new();
    for pod in pods.filter(|pod| !is_terminal(pod)) {
        let ports = ports(spec, pod);
        if ports.is_empty() {
            continue;
        }
        for (ip, address_type) in addresses(pod) {
            if has_family(spec, address_type) {
                let shape = SliceShape { address_type, ports: ports.clone() };
                endpoints.entry(shape).or_default().push(endpoint(service, spec, pod, ip));
            }
        }
    }
    let slice = |(n, (shape, endpoints))| slice(service, n, shape, endpoints);
    (1_usize..).zip(endpoints).map(slice).collect()
}

fn slice(service: &Service, n: usize, shape: SliceShape, endpoints: Vec<Endpoint>) -> Object {
    let SliceShape { address_type, ports } = shape;
    let name = service.metadata.name.clone().unwrap_or_default();
    let port = |(name, port)| EndpointPort {
        name: Some(name),
        port: Some(port),
        protocol: Some("TCP".to_owned()),
        ..EndpointPort::default()
    };
    Object::EndpointSlice(Box::new(EndpointSlice {
        address_type: address_type.to_owned(),
        endpoints,
        metadata: ObjectMeta {
            // A slice that somebody writes can hardly have this name.
            name: Some(format!("{name}.derived-{n}")),
            namespace: Some(namespace(&service.metadata).to_owned()),
            labels: Some([(SERVICE_NAME.to_owned(), name)].into()),
            ..ObjectMeta::default()
        },
        ports: Some(ports.into_iter().map(port).collect()),
    }))
}

fn endpoint(service: &Service, spec: &ServiceSpec, pod: &Pod, ip: String) -> Endpoint {
    let serving = is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let ready = spec.publish_not_ready_addresses.unwrap_or_default() || serving && !terminating;
    Endpoint {
        addresses: vec![ip],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(service, pod),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: Some(namespace(&pod.metadata).to_owned()),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

/// A pod has a name of its own below that of the service which it names as its subdomain. One that is none would have
/// the whole slice refused.
fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let is_below = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    spec.hostname.clone().filter(|hostname| is_below && field::label("spec.hostname", hostname).is_ok())
}

/// Where each TCP port of the service leads in this pod. A named port that the pod does not have is left out.
fn ports(spec: &ServiceSpec, pod: &Pod) -> Vec<(String, i32)> {
    let written = spec.ports.iter().flatten().filter(|port| is_tcp(port.protocol.as_deref()));
    let mut ports: Vec<_> = written
        .filter_map(|port| Some((port.name.clone().unwrap_or_default(), target(port, pod)?)))
        .collect();
    ports.sort_unstable();
    ports
}

fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => container_ports(pod)
            .find(|port| port.name.as_ref() == Some(name) && is_tcp(port.protocol.as_deref()))
            .map(|port| port.container_port),
    }
}

/// Those of the containers, then of the sidecars: the init containers that keep running.
fn container_ports(pod: &Pod) -> impl Iterator<Item = &ContainerPort> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let sidecars = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    containers.chain(sidecars).flat_map(|container| container.ports.iter().flatten())
}

fn addresses(pod: &Pod) -> BTreeSet<(String, &'static str)> {
    let Some(PodStatus { pod_ip, pod_ips, .. }) = &pod.status else { return BTreeSet::new() };
    let written = pod_ip.iter().chain(pod_ips.iter().flatten().map(|written| &written.ip));
    let typed = |ip: &String| (ip.clone(), if ip.contains(':') { "IPv6" } else { "IPv4" });
    written.filter(|ip| !ip.is_empty()).map(typed).collect()
}

/// `spec.ipFamilies`; where it is absent, the families of the VIPs; for a headless service both.
fn has_family(spec: &ServiceSpec, family: &str) -> bool {
    if let Some(families) = spec.ip_families.as_ref().filter(|families| !families.is_empty()) {
        return families.iter().any(|f| f == family);
    }
    let vips = spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten());
    let mut vips = vips.filter(|vip| !vip.is_empty() && *vip != "None").peekable();
    vips.peek().is_none() || vips.any(|vip| vip.contains(':') == (family == "IPv6"))
}

/// The condition `Ready`. By hand nobody writes conditions: then a pod is ready while it runs.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    match conditions.iter().find(|condition| condition.type_ == "Ready") {
        Some(ready) => ready.status == "True",
        None => matches!(phase(pod), None | Some("Running")),
    }
}

fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), Some("Succeeded" | "Failed"))
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).filter(|phase| !phase.is_empty())
}

fn has_labels(pod: &Pod, selector: &BTreeMap<String, String>) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

fn namespace(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(DEFAULT_NAMESPACE)
}

#[cfg(test)]
mod tests;
