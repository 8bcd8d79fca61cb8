//! Pods: who they are, where they are, and what decides about their enrolment.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Pod, PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use model::{ExistingConnections, ObjectName, PodUid};

use super::{Claim, IndexConfig};
use crate::{
    dns::DnsWishes,
    enrolment::{self, PodFacts, SIDECAR_STATUS},
    exclusions::PodExclusions,
    field,
    refusal::Invalid,
    slices,
};

/// The path of the pod's network namespace on its node, for want of a CNI that tells it.
const NETNS: &str = "millstream.dev/netns";
const NETNS_FIELD: &str = "metadata.annotations[millstream.dev/netns]";
/// Written by the kubelet into the mirror of a static pod: the UID of that, which it made itself.
const MIRROR: &str = "kubernetes.io/config.mirror";
const MIRROR_FIELD: &str = "metadata.annotations[kubernetes.io/config.mirror]";
/// Written by the agent of the pod's node.
pub(crate) const REDIRECTION: &str = "ambient.istio.io/redirection";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodEntry {
    pub(super) name: ObjectName,
    pub(super) uid: PodUid,
    pub(super) node: Option<Arc<str>>,
    pub(super) service_account: Arc<str>,
    pub(super) ips: Vec<IpAddr>,
    pub(super) runtime_uid: Option<Arc<str>>,
    pub(super) netns: Option<PathBuf>,
    /// Where the pod itself says it; its namespace otherwise.
    pub(super) existing_connections: Option<ExistingConnections>,
    pub(super) exclusions: PodExclusions,
    pub(super) objections: Vec<Invalid>,
    pub(super) redirection: Option<Arc<str>>,
    pub(super) dns: DnsWishes,
    pub(super) terminating: bool,
    pub(super) is_ready: bool,
    pub(super) labels: BTreeMap<String, String>,
    has_sidecar: bool,
    host_network: bool,
    pub(super) is_terminal: bool,
}

// === impl PodEntry ===

impl PodEntry {
    /// Of the version `before`, what stays in force where this one makes no sense.
    pub(super) fn parse(
        name: ObjectName,
        pod: &Pod,
        before: Option<&Self>,
        config: &IndexConfig,
    ) -> Result<Self, Invalid> {
        let Pod { metadata, spec, status } = pod;
        let annotations = field::or_empty(metadata.annotations.as_ref());
        let host_network = spec.as_ref().and_then(|s| s.host_network).unwrap_or_default();
        let netns = annotations
            .get(NETNS)
            // The namespace of such a pod is the node's.
            .filter(|_| config.honour_netns_annotation && !host_network)
            .map(|path| field::path(NETNS_FIELD, path))
            .transpose()?;
        // Whoever claims the UID of another's pod gains nothing: its own address is not in that one's namespace.
        let runtime_uid = annotations
            .get(MIRROR)
            .map(|uid| field::uid(MIRROR_FIELD, uid).map(|()| uid.as_str().into()))
            .transpose()?;
        let (existing_connections, mut objections) = match enrolment::existing_connections(annotations) {
            Ok(existing_connections) => (existing_connections, Vec::new()),
            // The pod wanted something of its own: what its namespace says does not come in its place.
            Err(invalid) => (Some(ExistingConnections::Keep), vec![invalid]),
        };
        let (dns, objection) = DnsWishes::read(annotations, spec.as_ref(), host_network);
        objections.extend(objection);
        let uid = uid(&name, metadata)?;
        // A pod that is made anew has said nothing before.
        let before = before.filter(|before| before.uid == uid).map(|before| &before.exclusions);
        let exclusions = PodExclusions::read(annotations, before, &config.exclusions);
        objections.extend(exclusions.refused.iter().cloned());
        Ok(Self {
            uid,
            name,
            node: node(spec.as_ref())?,
            service_account: service_account(spec.as_ref())?,
            ips: ips(status.as_ref())?,
            runtime_uid,
            netns,
            existing_connections,
            exclusions,
            objections,
            redirection: annotations.get(REDIRECTION).map(|value| value.as_str().into()),
            dns,
            terminating: metadata.deletion_timestamp.is_some(),
            is_ready: slices::is_ready(pod),
            labels: metadata.labels.clone().unwrap_or_default(),
            has_sidecar: annotations.contains_key(SIDECAR_STATUS),
            host_network,
            is_terminal: is_terminal(status.as_ref())?,
        })
    }

    /// A pod that has finished no longer holds its addresses: another may already have them.
    pub(super) fn claims(&self) -> Vec<(Claim, &'static str)> {
        let mut claims = vec![(Claim::Uid(self.uid.clone()), "metadata.uid")];
        if self.owns_addresses() {
            claims.extend(self.ips.iter().map(|ip| (Claim::Address(*ip), "status.podIPs")));
            claims.extend(self.netns.iter().map(|path| (Claim::Netns(path.clone()), NETNS_FIELD)));
        }
        claims
    }

    /// Whether the addresses are this pod's and nobody else's.
    pub(super) fn owns_addresses(&self) -> bool {
        !self.host_network && !self.is_terminal
    }

    pub(super) fn facts(&self) -> PodFacts<'_> {
        PodFacts {
            namespace: &self.name.namespace,
            labels: &self.labels,
            host_network: self.host_network,
            has_sidecar: self.has_sidecar,
            is_terminal: self.is_terminal,
            has_address: !self.ips.is_empty(),
        }
    }
}

/// A manifest written by hand has no UID: then it is `namespace.name`, the same each time. A namespace has no dot in
/// its name, so two pods never get the same one.
fn uid(name: &ObjectName, metadata: &ObjectMeta) -> Result<PodUid, Invalid> {
    match metadata.uid.as_deref().filter(|uid| !uid.is_empty()) {
        Some(uid) => field::uid("metadata.uid", uid).map(|()| PodUid::new(uid)),
        None => Ok(PodUid::new(&format!("{}.{}", name.namespace, name.name))),
    }
}

fn node(spec: Option<&PodSpec>) -> Result<Option<Arc<str>>, Invalid> {
    match spec.and_then(|s| s.node_name.as_deref()) {
        None | Some("") => Ok(None),
        Some(node) => field::name("spec.nodeName", node).map(|()| Some(node.into())),
    }
}

fn service_account(spec: Option<&PodSpec>) -> Result<Arc<str>, Invalid> {
    match spec.and_then(|s| s.service_account_name.as_deref()) {
        None | Some("") => Ok("default".into()),
        Some(account) => field::name("spec.serviceAccountName", account).map(|()| account.into()),
    }
}

/// `status.podIP` repeats the first of `status.podIPs`; by hand either will do.
fn ips(status: Option<&PodStatus>) -> Result<Vec<IpAddr>, Invalid> {
    let Some(PodStatus { pod_ip, pod_ips, .. }) = status else { return Ok(Vec::new()) };
    let mut ips = Vec::new();
    if let Some(primary) = pod_ip.as_deref().filter(|ip| !ip.is_empty()) {
        ips.push(field::ip("status.podIP", primary)?);
    }
    for (n, written) in pod_ips.iter().flatten().enumerate() {
        let ip = field::ip(format_args!("status.podIPs[{n}].ip"), &written.ip)?;
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    Ok(ips)
}

fn is_terminal(status: Option<&PodStatus>) -> Result<bool, Invalid> {
    match status.and_then(|s| s.phase.as_deref()) {
        None | Some("" | "Pending" | "Running" | "Unknown") => Ok(false),
        Some("Succeeded" | "Failed") => Ok(true),
        Some(other) => {
            let known = "Pending, Running, Succeeded, Failed, Unknown";
            Err(Invalid::new("status.phase", format_args!("{other:?} is not one of {known}")))
        }
    }
}
