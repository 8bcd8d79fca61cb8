//! From the address that the application dialled to those that may serve it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use model::{
    Endpoint, EndpointAddr, EndpointState, ObjectName, OriginalDst, Pod, Service, Snapshot, canonical,
};
use serde::{Serialize, Serializer};

use crate::{Candidates, Refusal};

/// What an original destination stands for in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "destination")]
pub enum Resolution<'a> {
    /// The VIP of a service: any of the candidates serves it.
    Service {
        #[serde(serialize_with = "service_name")]
        service: &'a Service,
        port: u16,
        candidates: Candidates<'a>,
    },
    /// The address of a pod.
    Pod {
        #[serde(serialize_with = "pod_name")]
        pod: &'a Pod,
        endpoint: EndpointAddr,
        /// The headless service that has this address and port among its endpoints.
        service: Option<&'a ObjectName>,
    },
    /// Nothing that the snapshot knows: goes where it was dialled.
    Passthrough { endpoint: EndpointAddr },
    Refuse {
        #[serde(serialize_with = "service_name")]
        service: &'a Service,
        port: u16,
        because: Refusal,
    },
}

/// Looks up what a client on `node` dialled.
pub fn resolve<'a>(snapshot: &'a Snapshot, node: &str, dst: OriginalDst) -> Resolution<'a> {
    let addr = canonical(dst.0);
    if let Some(service) = snapshot.services_at(addr.ip()).next() {
        return match candidates(service, node, addr) {
            Ok(candidates) => Resolution::Service { service, port: addr.port(), candidates },
            Err(because) => Resolution::Refuse { service, port: addr.port(), because },
        };
    }
    let endpoint = EndpointAddr(addr);
    let Some(pod) = snapshot.pod_by_ip(addr.ip()) else {
        return Resolution::Passthrough { endpoint };
    };
    // A service with a VIP was not what the application asked for, though this pod may serve it too.
    let service = snapshot.headless_service(addr).map(|s| &s.name);
    Resolution::Pod { pod, endpoint, service }
}

fn candidates<'a>(service: &'a Service, node: &str, addr: SocketAddr) -> Result<Candidates<'a>, Refusal> {
    let port = service.port(addr.port()).ok_or(Refusal::UnknownPort)?;
    let usable = || port.endpoints.iter().filter(|e| e.state != EndpointState::NotReady);
    let here = |e: &Endpoint| !service.node_local || e.node.as_deref() == Some(node);

    // The best rank that any endpoint has, then all of that rank.
    let Some(best) = usable().filter(|e| here(e)).map(|e| rank(e, addr.ip())).min() else {
        let elsewhere = usable().next().is_some();
        return Err(if elsewhere { Refusal::NoLocalEndpoint } else { Refusal::NoEndpoint });
    };
    let chosen = usable().filter(|e| here(e) && rank(e, addr.ip()) == best).collect();
    Candidates::new(chosen).ok_or(Refusal::NoEndpoint)
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
            Self::Pod { pod, endpoint, service: None } => write!(f, "pod {} at {endpoint}", pod.name),
            Self::Pod { pod, endpoint, service: Some(service) } => {
                write!(f, "pod {} at {endpoint} of the headless service {service}", pod.name)
            }
            Self::Passthrough { endpoint } => {
                write!(f, "{endpoint} is neither a service nor a pod: passed through")
            }
            Self::Refuse { service, port, because } => {
                write!(f, "service {} port {port} refused: {because}", service.name)
            }
        }
    }
}

#[cfg(test)]
mod tests;
