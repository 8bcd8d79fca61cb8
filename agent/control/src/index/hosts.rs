//! ServiceEntries: hosts, what may be dialled for them, and where that leads.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use jiff::Timestamp;
use model::{Cidr, Discovery, Location, ObjectName, Visibility, cidr::CidrError};

use crate::{
    field,
    refusal::Invalid,
    service_entry::{Port, ServiceEntry, Spec, Status, StatusAddress, WorkloadSelector, Written},
    visibility::visibility,
};

pub(super) mod allocation;
mod backing;
pub(super) mod merge;

pub(super) use self::backing::{At, Backing};

/// Istio's: `false` where no address shall be allocated.
const ALLOCATE: &str = "networking.istio.io/enable-autoallocate-ip";

/// The hosts of one ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostsEntry {
    pub(super) name: ObjectName,
    pub(super) created: Option<Timestamp>,
    /// Each once.
    pub(super) hosts: Vec<Arc<str>>,
    /// Each with its field.
    pub(super) addresses: Vec<(IpAddr, String)>,
    pub(super) networks: Vec<Cidr>,
    /// TCP only.
    pub(super) ports: Vec<HostPort>,
    pub(super) discovery: Discovery,
    pub(super) location: Location,
    pub(super) backing: Backing,
    pub(super) visibility: Visibility,
    /// What an allocator has recorded.
    pub(super) status: Vec<RecordedAddress>,
    /// Whether nothing forbids that its hosts be given addresses.
    pub(super) may_allocate: bool,
    pub(super) objections: Vec<Invalid>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPort {
    pub(super) name: Arc<str>,
    pub(super) port: u16,
    /// That of an endpoint which says no other.
    pub(super) target: u16,
    /// Where it was written.
    pub(super) field: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordedAddress {
    pub(super) host: Arc<str>,
    pub(super) ip: IpAddr,
    /// Where it was written.
    pub(super) field: String,
}

// === impl HostsEntry ===

impl HostsEntry {
    pub(super) fn parse(name: ObjectName, entry: &ServiceEntry) -> Result<Self, Invalid> {
        let ServiceEntry { metadata, written, status: _ } = entry;
        let Written { spec, status } = written.as_ref().map_err(Clone::clone)?;
        let Some(spec) = spec else { return Err(Invalid::new("spec", "is missing")) };
        let hosts = hosts(spec)?;
        let discovery = discovery(spec)?;
        let (addresses, networks) = addresses(spec, discovery)?;
        let ports = ports(spec)?;
        let export_to = spec.export_to.iter().flatten().map(String::as_str);
        let labels = field::or_empty(metadata.labels.as_ref());
        let is_forbidden = labels.get(ALLOCATE).is_some_and(|value| value.eq_ignore_ascii_case("false"));
        let written = spec.addresses.as_deref().unwrap_or_default();
        let (status, objections) = recorded(status.as_ref());
        Ok(Self {
            backing: Backing::parse(spec, discovery, &hosts)?,
            visibility: visibility("spec.exportTo", export_to, &name.namespace)?,
            may_allocate: discovery != Discovery::AsDialled && written.is_empty() && !is_forbidden,
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            name,
            hosts,
            addresses,
            networks,
            ports,
            discovery,
            location: location(spec)?,
            status,
            objections,
        })
    }

    /// Whether the host gets an address of an allocator where it has none of its own.
    pub(super) fn is_eligible(&self, host: &str) -> bool {
        self.may_allocate && (self.discovery == Discovery::DynamicDns || !host.starts_with('*'))
    }
}

fn hosts(spec: &Spec) -> Result<Vec<Arc<str>>, Invalid> {
    let mut hosts = Vec::new();
    for (n, written) in spec.hosts.iter().flatten().enumerate() {
        let host = field::host_or_wildcard(format_args!("spec.hosts[{n}]"), written)?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    match hosts.is_empty() {
        true => Err(Invalid::new("spec.hosts", "is missing")),
        false => Ok(hosts),
    }
}

fn discovery(spec: &Spec) -> Result<Discovery, Invalid> {
    Ok(match spec.resolution.as_deref() {
        None | Some("" | "NONE") => Discovery::AsDialled,
        Some("STATIC") => Discovery::Endpoints,
        Some("DNS") => Discovery::Dns,
        Some("DNS_ROUND_ROBIN") => Discovery::DnsRoundRobin,
        Some("DYNAMIC_DNS") => Discovery::DynamicDns,
        Some(other) => {
            let known = "NONE, STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS";
            return Err(Invalid::new("spec.resolution", format_args!("{other:?} is not one of {known}")));
        }
    })
}

fn location(spec: &Spec) -> Result<Location, Invalid> {
    Ok(match spec.location.as_deref() {
        None | Some("" | "MESH_EXTERNAL") => Location::MeshExternal,
        Some("MESH_INTERNAL") => Location::MeshInternal,
        Some(other) => {
            let known = "MESH_EXTERNAL, MESH_INTERNAL";
            return Err(Invalid::new("spec.location", format_args!("{other:?} is not one of {known}")));
        }
    })
}

type Addresses = (Vec<(IpAddr, String)>, Vec<Cidr>);

fn addresses(spec: &Spec, discovery: Discovery) -> Result<Addresses, Invalid> {
    let (mut addresses, mut networks): Addresses = (Vec::new(), Vec::new());
    for (n, written) in spec.addresses.iter().flatten().enumerate() {
        let field = format!("spec.addresses[{n}]");
        if !written.contains('/') {
            let ip = field::ip(&field, written)?;
            if addresses.iter().all(|(known, _)| *known != ip) {
                addresses.push((ip, field));
            }
            continue;
        }
        if !matches!(discovery, Discovery::AsDialled | Discovery::Endpoints) {
            let reason = format_args!("{written} is a network, which only NONE and STATIC may have");
            return Err(Invalid::new(field, reason));
        }
        let network = match written.parse::<Cidr>() {
            // Istio clears those bits, too.
            Ok(network) | Err(CidrError::HostBits(network)) => network,
            Err(error) => return Err(Invalid::new(field, format_args!("{written:?} {error}"))),
        };
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    Ok((addresses, networks))
}

/// Names and numbers must tell them apart.
fn ports(spec: &Spec) -> Result<Vec<HostPort>, Invalid> {
    let written = spec.ports.as_deref().unwrap_or_default();
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeMap::new());
    let mut ports = Vec::new();
    for (n, Port { number, protocol, name, target_port }) in written.iter().enumerate() {
        let at = |field: &str| format!("spec.ports[{n}].{field}");
        let name = name.as_deref().unwrap_or_default();
        if name.is_empty() && 1 < written.len() {
            return Err(Invalid::new(at("name"), "is missing: of several ports each has one"));
        }
        if !names.insert(name) {
            return Err(Invalid::new(at("name"), format_args!("{name:?} is also that of another port")));
        }
        let port = field::port(at("number"), *number)?;
        if let Some(other) = numbers.insert(port, n) {
            let reason = format_args!("{port} is also that of spec.ports[{other}]");
            return Err(Invalid::new(at("number"), reason));
        }
        if !is_tcp(at("protocol"), protocol.as_deref())? {
            continue;
        }
        let target = match target_port {
            None | Some(0) => port,
            Some(target) => field::port(at("targetPort"), *target)?,
        };
        ports.push(HostPort { name: name.into(), port, target, field: format!("spec.ports[{n}]") });
    }
    Ok(ports)
}

/// Istio's names of protocols; all of them but one are spoken over TCP.
fn is_tcp(field: String, protocol: Option<&str>) -> Result<bool, Invalid> {
    const TCP: [&str; 11] =
        ["TCP", "HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TLS", "MONGO", "REDIS", "MYSQL", "THRIFT"];
    let protocol = protocol.unwrap_or_default();
    if protocol.eq_ignore_ascii_case("UDP") {
        return Ok(false);
    }
    if protocol.is_empty() || TCP.iter().any(|known| protocol.eq_ignore_ascii_case(known)) {
        return Ok(true);
    }
    let known = TCP.join(", ");
    Err(Invalid::new(field, format_args!("{protocol:?} is not one of {known}, UDP")))
}

/// An address that makes no sense is put aside: the entry itself is not to blame for what an allocator wrote.
fn recorded(status: Option<&Status>) -> (Vec<RecordedAddress>, Vec<Invalid>) {
    let (mut recorded, mut objections) = (Vec::new(), Vec::new());
    let addresses = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    for (n, StatusAddress { value, host }) in addresses.iter().enumerate() {
        let at = |field: &str| format!("status.addresses[{n}].{field}");
        let value = value.as_deref().unwrap_or_default();
        let host = host.as_deref().unwrap_or_default();
        let read = field::ip(at("value"), value).and_then(|ip| {
            let host = field::host_or_wildcard(at("host"), host)?;
            Ok(RecordedAddress { host, ip, field: at("value") })
        });
        match read {
            Ok(address) => recorded.push(address),
            Err(Invalid { field, reason }) => {
                objections.push(Invalid::new(field, format_args!("{reason}; it is left out")));
            }
        }
    }
    (recorded, objections)
}

/// The labels that a pod must have; at least one.
fn selector(written: &WorkloadSelector) -> Result<BTreeMap<String, String>, Invalid> {
    match written.labels.as_ref().filter(|labels| !labels.is_empty()) {
        Some(labels) => Ok(labels.clone()),
        None => Err(Invalid::new("spec.workloadSelector.labels", "is missing: it would select every pod")),
    }
}
