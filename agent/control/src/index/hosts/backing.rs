//! What is behind the hosts of a ServiceEntry.

use std::{collections::BTreeMap, net::IpAddr, num::NonZeroU32, sync::Arc};

use model::Discovery;

use super::{HostPort, selector};
use crate::{
    field,
    refusal::Invalid,
    service_entry::{self, Spec},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::index) enum Backing {
    /// What `spec.endpoints` says.
    Endpoints(Vec<HostEndpoint>),
    /// Pods of its namespace with these labels.
    Pods(BTreeMap<String, String>),
    /// The host itself, by its name in DNS.
    Host,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::index) struct HostEndpoint {
    pub(in crate::index) at: At,
    /// By the name of the entry's port.
    ports: BTreeMap<Arc<str>, u16>,
    /// `None`: 1, which is also what 0 says.
    pub(in crate::index) weight: Option<NonZeroU32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::index) enum At {
    Address(IpAddr),
    Name(Arc<str>),
}

// === impl Backing ===

impl Backing {
    pub(super) fn parse(spec: &Spec, discovery: Discovery, hosts: &[Arc<str>]) -> Result<Self, Invalid> {
        let is_by_name = matches!(discovery, Discovery::Dns | Discovery::DnsRoundRobin);
        let written = spec.endpoints.as_deref().unwrap_or_default();
        if let Some(written_selector) = &spec.workload_selector {
            if !written.is_empty() {
                return Err(Invalid::new("spec.workloadSelector", "stands beside spec.endpoints"));
            }
            if is_by_name || discovery == Discovery::DynamicDns {
                let reason = "selects pods, whose addresses are known; the resolution must be STATIC or NONE";
                return Err(Invalid::new("spec.workloadSelector", reason));
            }
            return Ok(Self::Pods(selector(written_selector)?));
        }
        if matches!(discovery, Discovery::AsDialled | Discovery::DynamicDns) && !written.is_empty() {
            let reason = "are never dialled, for the resolution is NONE or DYNAMIC_DNS";
            return Err(Invalid::new("spec.endpoints", reason));
        }
        if is_by_name && written.is_empty() {
            if let Some(n) = hosts.iter().position(|host| host.starts_with('*')) {
                let reason = format_args!("{} cannot be looked up: give endpoints, or DYNAMIC_DNS", hosts[n]);
                return Err(Invalid::new(format_args!("spec.hosts[{n}]"), reason));
            }
            return Ok(Self::Host);
        }
        let endpoint = |(n, endpoint)| HostEndpoint::parse(n, endpoint, spec, is_by_name);
        written.iter().enumerate().map(endpoint).collect::<Result<_, _>>().map(Self::Endpoints)
    }
}

// === impl HostEndpoint ===

impl HostEndpoint {
    fn parse(
        n: usize,
        endpoint: &service_entry::Endpoint,
        spec: &Spec,
        is_by_name: bool,
    ) -> Result<Self, Invalid> {
        let field = format!("spec.endpoints[{n}].address");
        let mut ports = BTreeMap::new();
        for (name, number) in endpoint.ports.iter().flatten() {
            let field = format!("spec.endpoints[{n}].ports");
            if !spec.ports.iter().flatten().any(|port| port.name.as_ref() == Some(name)) {
                return Err(Invalid::new(field, format_args!("{name:?} is the name of none of spec.ports")));
            }
            ports.insert(name.as_str().into(), field::port(format_args!("{field}[{name}]"), *number)?);
        }
        let at = match endpoint.address.as_deref() {
            None | Some("") => return Err(Invalid::new(field, "is missing")),
            Some(path) if path.starts_with("unix:") => {
                let reason =
                    format_args!("{path} is a socket in one pod, which a proxy for all cannot reach");
                return Err(Invalid::new(field, reason));
            }
            Some(name) if is_by_name && name.parse::<IpAddr>().is_err() => {
                At::Name(field::host(field, name)?)
            }
            Some(ip) => At::Address(field::ip(field, ip)?),
        };
        Ok(Self { at, ports, weight: endpoint.weight.and_then(NonZeroU32::new) })
    }

    pub(in crate::index) fn port(&self, port: &HostPort) -> u16 {
        self.ports.get(&port.name).copied().unwrap_or(port.target)
    }
}
