//! EndpointSlices: some of the endpoints of one service, with the ports that they all have.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::api::{
    core::v1::ObjectReference,
    discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
};
use model::{EndpointState, ObjectName, PodUid};

use crate::{field, refusal::Invalid, slices::SERVICE_NAME};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SliceEntry {
    /// `None`: the slice belongs to no service, and is of no use here.
    pub(super) service: Option<ObjectName>,
    /// TCP only.
    pub(super) ports: Vec<SlicePort>,
    pub(super) endpoints: Vec<EndpointEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlicePort {
    /// That of the service's port.
    pub(super) name: Arc<str>,
    /// `None`: all ports.
    pub(super) port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EndpointEntry {
    pub(super) ip: IpAddr,
    pub(super) state: EndpointState,
    pub(super) node: Option<Arc<str>>,
    pub(super) pod: Option<PodRef>,
    /// Its own name below that of the service.
    pub(super) hostname: Option<Arc<str>>,
}

/// `targetRef`, where it means a pod. A name without UID comes from manifests written by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodRef {
    pub(super) uid: Option<PodUid>,
    pub(super) name: ObjectName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    /// Deprecated in Kubernetes; nothing can be dialled by it.
    Name,
}

// === impl SliceEntry ===

impl SliceEntry {
    pub(super) fn parse(name: &ObjectName, slice: &EndpointSlice) -> Result<Self, Invalid> {
        let EndpointSlice { address_type, endpoints, metadata, ports } = slice;
        let labels = field::or_empty(metadata.labels.as_ref());
        let service = labels.get(SERVICE_NAME).filter(|service| !service.is_empty());
        let service =
            service.map(|s| ObjectName { namespace: name.namespace.clone(), name: s.as_str().into() });
        let family = Family::parse(address_type)?;
        let mut entry =
            Self { service, ports: parse_ports(ports.as_deref().unwrap_or_default())?, endpoints: vec![] };
        if family != Family::Name {
            for (n, endpoint) in endpoints.iter().enumerate() {
                entry.endpoints.push(EndpointEntry::parse(n, endpoint, family, &name.namespace)?);
            }
        }
        Ok(entry)
    }
}

fn parse_ports(written: &[EndpointPort]) -> Result<Vec<SlicePort>, Invalid> {
    let mut ports: Vec<SlicePort> = Vec::new();
    for (n, EndpointPort { name, port, protocol, .. }) in written.iter().enumerate() {
        if !field::is_tcp(format_args!("ports[{n}].protocol"), protocol.as_deref())? {
            continue;
        }
        let name = name.as_deref().unwrap_or_default();
        if ports.iter().any(|other| *other.name == *name) {
            let reason = format_args!("{name:?} is also that of another port");
            return Err(Invalid::new(format_args!("ports[{n}].name"), reason));
        }
        let port = port.map(|port| field::port(format_args!("ports[{n}].port"), port)).transpose()?;
        ports.push(SlicePort { name: name.into(), port });
    }
    Ok(ports)
}

// === impl EndpointEntry ===

impl EndpointEntry {
    /// Only the first address means anything: Kubernetes gives the others no semantics.
    fn parse(n: usize, endpoint: &Endpoint, family: Family, namespace: &Arc<str>) -> Result<Self, Invalid> {
        let Endpoint { addresses, conditions, hostname, node_name, target_ref, .. } = endpoint;
        let at = format!("endpoints[{n}].addresses[0]");
        let Some(address) = addresses.first() else { return Err(Invalid::new(at, "is missing")) };
        let ip = field::ip(&at, address)?;
        if family != Family::of(ip) {
            return Err(Invalid::new(at, format_args!("{ip} is not of the family that addressType says")));
        }
        let hostname = hostname.as_deref().filter(|hostname| !hostname.is_empty());
        let hostname_field = format_args!("endpoints[{n}].hostname");
        Ok(Self {
            hostname: hostname.map(|name| field::label(hostname_field, name)).transpose()?,
            ip,
            state: state(conditions.as_ref()),
            node: node_name.as_deref().filter(|node| !node.is_empty()).map(Into::into),
            pod: target_ref.as_ref().and_then(|target| PodRef::parse(target, namespace)),
        })
    }
}

/// An absent `ready` means ready, an absent `serving` the same as `ready`, an absent `terminating` no.
fn state(conditions: Option<&EndpointConditions>) -> EndpointState {
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    let serving = conditions.and_then(|c| c.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|c| c.terminating).unwrap_or(false);
    state_of(ready, serving, terminating)
}

pub(super) fn state_of(ready: bool, serving: bool, terminating: bool) -> EndpointState {
    match (ready, serving, terminating) {
        (true, _, false) => EndpointState::Ready,
        (_, true, true) => EndpointState::Terminating,
        (_, false, true) | (false, _, false) => EndpointState::NotReady,
    }
}

// === impl PodRef ===

impl PodRef {
    fn parse(target: &ObjectReference, namespace: &Arc<str>) -> Option<Self> {
        if target.kind.as_deref() != Some("Pod") {
            return None;
        }
        // The API server demands the same namespace anyway.
        let name = ObjectName { namespace: namespace.clone(), name: target.name.as_deref()?.into() };
        Some(Self { uid: target.uid.as_deref().filter(|uid| !uid.is_empty()).map(PodUid::new), name })
    }
}

// === impl Family ===

impl Family {
    fn parse(address_type: &str) -> Result<Self, Invalid> {
        match address_type {
            "IPv4" => Ok(Self::V4),
            "IPv6" => Ok(Self::V6),
            "FQDN" => Ok(Self::Name),
            other => {
                let reason = format_args!("{other:?} is not one of IPv4, IPv6, FQDN");
                Err(Invalid::new("addressType", reason))
            }
        }
    }

    fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}
