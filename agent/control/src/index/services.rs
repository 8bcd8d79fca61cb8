//! Services: their VIPs, their TCP ports, and how their endpoints are chosen.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use model::{Affinity, ObjectName, Visibility};

use super::Claim;
use crate::{
    field,
    refusal::Invalid,
    visibility::{EXPORT_TO, EXPORT_TO_FIELD, visibility},
};

/// `spec.clusterIP` of a headless service.
const HEADLESS: &str = "None";
/// What Kubernetes takes where `timeoutSeconds` is absent.
const AFFINITY_DEFAULT_SECONDS: i32 = 10_800;
const AFFINITY_MAX_SECONDS: i32 = 86_400;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KubernetesService {
    pub(super) name: ObjectName,
    pub(super) vips: Vec<IpAddr>,
    /// TCP only.
    pub(super) ports: Vec<PortEntry>,
    pub(super) affinity: Affinity,
    pub(super) node_local: bool,
    /// It is only another name.
    pub(super) external_name: Option<Arc<str>>,
    pub(super) visibility: Visibility,
    pub(super) objections: Vec<Invalid>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortEntry {
    pub(super) name: Arc<str>,
    pub(super) port: u16,
    /// For a slice that says "all ports": the numeric `targetPort`, or failing that, `port`.
    pub(super) target: u16,
}

// === impl KubernetesService ===

impl KubernetesService {
    /// Of the version `before`, what stays in force where this one makes no sense.
    pub(super) fn parse(name: ObjectName, service: &Service, before: Option<&Self>) -> Result<Self, Invalid> {
        let Some(spec) = &service.spec else { return Err(Invalid::new("spec", "is missing")) };
        let annotations = field::or_empty(service.metadata.annotations.as_ref());
        let (visibility, objection) = exported(&name.namespace, annotations, before);
        Ok(Self {
            visibility,
            objections: objection.into_iter().collect(),
            external_name: external_name(spec)?,
            name,
            vips: vips(spec)?,
            ports: ports(spec)?,
            affinity: affinity(spec)?,
            node_local: node_local(spec)?,
        })
    }

    pub(super) fn claims(&self) -> Vec<(Claim, &'static str)> {
        self.vips.iter().map(|vip| (Claim::Address(*vip), "spec.clusterIPs")).collect()
    }
}

/// In the place of what makes no sense stays what it said before; if it never made sense, only its own namespace sees
/// it: nobody shows more for a slip of the pen.
fn exported(
    own: &Arc<str>,
    annotations: &BTreeMap<String, String>,
    before: Option<&KubernetesService>,
) -> (Visibility, Option<Invalid>) {
    let Some(written) = annotations.get(EXPORT_TO) else { return (Visibility::Everywhere, None) };
    visibility(EXPORT_TO_FIELD, written.split(','), own).map_or_else(
        |Invalid { field, reason }| {
            let (visibility, instead) = match before {
                Some(before) => (before.visibility.clone(), "what it said before stays in force"),
                None => (Visibility::Namespaces([own.clone()].into()), "only its own namespace sees it"),
            };
            (visibility, Some(Invalid::new(field, format_args!("{reason}; {instead}"))))
        },
        |visibility| (visibility, None),
    )
}

fn external_name(spec: &ServiceSpec) -> Result<Option<Arc<str>>, Invalid> {
    if spec.type_.as_deref() != Some("ExternalName") {
        return Ok(None);
    }
    match spec.external_name.as_deref() {
        None | Some("") => Err(Invalid::new("spec.externalName", "is missing")),
        Some(name) => field::host("spec.externalName", name).map(Some),
    }
}

/// Empty for a headless service, for one that is only a name in DNS, and while none is assigned.
fn vips(spec: &ServiceSpec) -> Result<Vec<IpAddr>, Invalid> {
    match spec.type_.as_deref() {
        None | Some("" | "ClusterIP" | "NodePort" | "LoadBalancer") => {}
        Some("ExternalName") => return Ok(Vec::new()),
        Some(other) => {
            let known = "ClusterIP, NodePort, LoadBalancer, ExternalName";
            return Err(Invalid::new("spec.type", format_args!("{other:?} is not one of {known}")));
        }
    }
    let primary = spec.cluster_ip.iter().map(|ip| ("spec.clusterIP".to_owned(), ip));
    let all = spec.cluster_ips.iter().flatten().enumerate();
    let all = all.map(|(n, ip)| (format!("spec.clusterIPs[{n}]"), ip));
    let written: Vec<_> = primary.chain(all).filter(|(_, ip)| !ip.is_empty()).collect();

    let mut vips = Vec::new();
    for (field, text) in written.iter().filter(|(_, text)| *text != HEADLESS) {
        if let Some((headless, _)) = written.iter().find(|(_, text)| *text == HEADLESS) {
            return Err(Invalid::new(field, format_args!("is {text} although {headless} is {HEADLESS}")));
        }
        let vip = field::ip(field, text)?;
        if !vips.contains(&vip) {
            vips.push(vip);
        }
    }
    Ok(vips)
}

/// The TCP ports. Names and numbers must tell them apart.
fn ports(spec: &ServiceSpec) -> Result<Vec<PortEntry>, Invalid> {
    let written = spec.ports.as_deref().unwrap_or_default();
    let mut ports = Vec::new();
    let mut names = BTreeSet::new();
    let mut numbers = BTreeMap::new();
    for (n, port) in written.iter().enumerate() {
        let at = |field: &str| format!("spec.ports[{n}].{field}");
        let name = port.name.as_deref().unwrap_or_default();
        if name.is_empty() && written.len() > 1 {
            return Err(Invalid::new(at("name"), "is missing: a service with several ports names each"));
        }
        if !names.insert(name) {
            return Err(Invalid::new(at("name"), format_args!("{name:?} is also that of another port")));
        }
        if !field::is_tcp(at("protocol"), port.protocol.as_deref())? {
            continue;
        }
        let number = field::port(at("port"), port.port)?;
        if let Some(other) = numbers.insert(number, n) {
            return Err(Invalid::new(
                at("port"),
                format_args!("{number} is also that of spec.ports[{other}]"),
            ));
        }
        ports.push(PortEntry {
            name: name.into(),
            port: number,
            target: target(port, number, at("targetPort"))?,
        });
    }
    Ok(ports)
}

fn target(port: &ServicePort, number: u16, field: String) -> Result<u16, Invalid> {
    match &port.target_port {
        // Some encoders write 0 for "absent".
        None | Some(IntOrString::Int(0)) => Ok(number),
        Some(IntOrString::Int(target)) => field::port(field, *target),
        Some(IntOrString::String(name)) => field::port_name(field, name).map(|()| number),
    }
}

fn affinity(spec: &ServiceSpec) -> Result<Affinity, Invalid> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return Ok(Affinity::None),
        Some("ClientIP") => {}
        Some(other) => {
            let reason = format_args!("{other:?} is not one of None, ClientIP");
            return Err(Invalid::new("spec.sessionAffinity", reason));
        }
    }
    let configured = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
    let seconds = configured.and_then(|c| c.timeout_seconds).unwrap_or(AFFINITY_DEFAULT_SECONDS);
    match u64::try_from(seconds) {
        Ok(timeout) if (1..=AFFINITY_MAX_SECONDS).contains(&seconds) => {
            Ok(Affinity::ClientIp(Duration::from_secs(timeout)))
        }
        Ok(_) | Err(_) => Err(Invalid::new(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            format_args!("{seconds} is not 1 to {AFFINITY_MAX_SECONDS}"),
        )),
    }
}

fn node_local(spec: &ServiceSpec) -> Result<bool, Invalid> {
    match spec.internal_traffic_policy.as_deref() {
        None | Some("" | "Cluster") => Ok(false),
        Some("Local") => Ok(true),
        Some(other) => {
            let reason = format_args!("{other:?} is not one of Cluster, Local");
            Err(Invalid::new("spec.internalTrafficPolicy", reason))
        }
    }
}
