//! From the address that the application dialled to those that may serve it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use model::{
    Discovery, Endpoint, EndpointAddr, EndpointState, NamedEndpoint, ObjectName, OriginalDst, OutboundPolicy,
    Pod, Service, ServicePort, Snapshot, canonical,
};
use serde::{Serialize, Serializer};

use crate::{Candidates, Client, Refusal};

/// What an original destination stands for in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "destination")]
pub enum Resolution<'a> {
    /// An address of a service: any of the candidates serves it.
    Service {
        #[serde(serialize_with = "service_name")]
        service: &'a Service,
        port: u16,
        candidates: Candidates<'a>,
    },
    /// An address of a service of whose endpoints only the names are known; at least one. How they are to be resolved
    /// says its discovery.
    Names {
        #[serde(serialize_with = "service_name")]
        service: &'a Service,
        port: u16,
        names: &'a [NamedEndpoint],
    },
    /// The address of a pod.
    Pod {
        #[serde(serialize_with = "pod_name")]
        pod: &'a Pod,
        endpoint: EndpointAddr,
        /// The service that leaves the choice of the pod to the client: a headless one that has this address and port
        /// among its endpoints, or a ServiceEntry of resolution `NONE`.
        service: Option<&'a ObjectName>,
    },
    /// Goes where it was dialled, which is no pod.
    Passthrough {
        endpoint: EndpointAddr,
        /// The same, if any: without one nothing in the snapshot knows the address.
        service: Option<&'a ObjectName>,
    },
    Refuse {
        dialled: OriginalDst,
        /// `None` where it is refused for want of one.
        #[serde(serialize_with = "optional_service_name")]
        service: Option<&'a Service>,
        because: Refusal,
    },
}

/// Looks up what a client dialled. Of the services that it sees, the most specific decides:
///
/// 1. One that has this very address. If several share it, the first that has the port; if none has, the connection is
///    refused, for nobody else has the address.
/// 2. A headless one of whose endpoints this very address and port is one.
/// 3. One of whose networks contains the address: of those that have the port, the one with the longest prefix.
/// 4. The pod that has the address. It is known to the registry even if it belongs to no service.
/// 5. One that has the port of every address.
/// 6. Nobody: the client's outbound policy says whether the connection passes.
pub fn resolve<'a>(snapshot: &'a Snapshot, client: Client<'_>, dst: OriginalDst) -> Resolution<'a> {
    let dialled = OriginalDst(canonical(dst.0));
    let (ip, number) = (dialled.0.ip(), dialled.0.port());
    let visible =
        || snapshot.services_at(ip).map(|service| &**service).filter(|service| client.sees(service));
    let refuse = |service, because| Resolution::Refuse { dialled, service, because };
    let with_port = |service: &'a Service| Some((service, service.port(number)?));

    let mut exact = visible().take_while(|service| has_address(service, ip)).peekable();
    if let Some(&first) = exact.peek() {
        return match exact.find_map(with_port) {
            Some((service, port)) => serve(snapshot, client, dialled, service, port)
                .unwrap_or_else(|because| refuse(Some(service), because)),
            None => refuse(Some(first), Refusal::UnknownPort),
        };
    }
    let headless = snapshot.headless_service(dialled.0).filter(|service| client.sees(service));
    if let Some(service) = headless {
        return as_dialled(snapshot, dialled, Some(&service.name));
    }
    if let Some((service, port)) = visible().find_map(with_port) {
        return serve(snapshot, client, dialled, service, port)
            .unwrap_or_else(|because| refuse(Some(service), because));
    }
    // A service with a VIP was not what the application asked for, though this pod may serve it too.
    if snapshot.pod_by_ip(ip).is_some() {
        return as_dialled(snapshot, dialled, None);
    }
    let wildcard = snapshot.services_of_any_address(number).find(|service| client.sees(service));
    match (wildcard, client.outbound_policy) {
        (None, OutboundPolicy::RegistryOnly) => refuse(None, Refusal::NotRegistered),
        (service, _) => as_dialled(snapshot, dialled, service.map(|service| &service.name)),
    }
}

fn has_address(service: &Service, ip: IpAddr) -> bool {
    service.addresses().any(|address| address.to_canonical() == ip)
}

fn serve<'a>(
    snapshot: &'a Snapshot,
    client: Client<'_>,
    dialled: OriginalDst,
    service: &'a Service,
    port: &'a ServicePort,
) -> Result<Resolution<'a>, Refusal> {
    let number = port.port;
    match service.discovery {
        Discovery::Endpoints => {
            let candidates = candidates(service, port, client.node, dialled.0)?;
            Ok(Resolution::Service { service, port: number, candidates })
        }
        Discovery::AsDialled => Ok(as_dialled(snapshot, dialled, Some(&service.name))),
        Discovery::Dns | Discovery::DnsRoundRobin => match &port.names[..] {
            [] => Err(Refusal::NoEndpoint),
            names => Ok(Resolution::Names { service, port: number, names }),
        },
        Discovery::DynamicDns => Err(Refusal::DynamicDns),
    }
}

fn as_dialled<'a>(
    snapshot: &'a Snapshot,
    dialled: OriginalDst,
    service: Option<&'a ObjectName>,
) -> Resolution<'a> {
    let endpoint = EndpointAddr(dialled.0);
    match snapshot.pod_by_ip(endpoint.ip()) {
        Some(pod) => Resolution::Pod { pod, endpoint, service },
        None => Resolution::Passthrough { endpoint, service },
    }
}

fn candidates<'a>(
    service: &Service,
    port: &'a ServicePort,
    node: &str,
    dialled: SocketAddr,
) -> Result<Candidates<'a>, Refusal> {
    let usable = || port.endpoints.iter().filter(|e| e.state != EndpointState::NotReady);
    let here = |e: &Endpoint| !service.node_local || e.node.as_deref() == Some(node);
    let rank = |e: &Endpoint| rank(e, dialled.ip());

    // The best rank that any endpoint has, then all of that rank.
    let Some(best) = usable().filter(|e| here(e)).map(rank).min() else {
        let elsewhere = usable().next().is_some();
        return Err(if elsewhere { Refusal::NoLocalEndpoint } else { Refusal::NoEndpoint });
    };
    let chosen = usable().filter(|e| here(e) && rank(e) == best).collect();
    Candidates::new(chosen, &port.weights).ok_or(Refusal::NoEndpoint)
}

/// Less is better: a ready endpoint of the other family is used before a terminating one of this.
fn rank(endpoint: &Endpoint, dialled: IpAddr) -> (bool, bool) {
    let terminating = endpoint.state != EndpointState::Ready;
    let other_family = endpoint.addr.ip().is_ipv4() != dialled.is_ipv4();
    (terminating, other_family)
}

fn service_name<S: Serializer>(service: &Service, to: S) -> Result<S::Ok, S::Error> {
    service.name.serialize(to)
}

fn optional_service_name<S: Serializer>(service: &Option<&Service>, to: S) -> Result<S::Ok, S::Error> {
    service.map(|service| &service.name).serialize(to)
}

fn pod_name<S: Serializer>(pod: &Pod, to: S) -> Result<S::Ok, S::Error> {
    pod.name.serialize(to)
}

// === impl Resolution ===

impl fmt::Display for Resolution<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { service, port, candidates } => {
                write!(f, "service {} port {port}: {candidates}", service.name)
            }
            Self::Names { service, port, names } => {
                write!(f, "service {} port {port}: ", service.name)?;
                for (i, name) in names.iter().enumerate() {
                    let separator = if i == 0 { "" } else { ", " };
                    write!(f, "{separator}{name}")?;
                }
                f.write_str(" by DNS")
            }
            Self::Pod { pod, endpoint, service: None } => write!(f, "pod {} at {endpoint}", pod.name),
            Self::Pod { pod, endpoint, service: Some(service) } => {
                write!(f, "pod {} at {endpoint} of service {service}", pod.name)
            }
            Self::Passthrough { endpoint, service: None } => {
                write!(f, "{endpoint} is neither a service nor a pod: passed through")
            }
            Self::Passthrough { endpoint, service: Some(service) } => {
                write!(f, "service {service} at {endpoint}: passed through")
            }
            Self::Refuse { dialled, service: Some(service), because } => {
                write!(f, "service {} port {} refused: {because}", service.name, dialled.0.port())
            }
            Self::Refuse { dialled, service: None, because } => write!(f, "{dialled} refused: {because}"),
        }
    }
}

#[cfg(test)]
mod tests;
