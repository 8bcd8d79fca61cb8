//! Services and the endpoints that serve them.

use std::{net::IpAddr, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{EndpointAddr, ObjectName, PodUid};

/// A Kubernetes Service with TCP ports, joined with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    pub name: ObjectName,
    /// `spec.clusterIPs`; empty for a headless service.
    pub vips: Vec<IpAddr>,
    pub ports: Vec<ServicePort>,
    pub affinity: Affinity,
    /// `internalTrafficPolicy: Local`: only endpoints on the client's node serve it.
    pub node_local: bool,
}

/// `spec.sessionAffinity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Affinity {
    #[default]
    None,
    /// `ClientIP`: one client address stays with one endpoint until it has been silent for so long.
    ClientIp(Duration),
}

/// One TCP port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServicePort {
    /// Empty where the service has a single, unnamed port.
    pub name: Arc<str>,
    pub port: u16,
    pub endpoints: Vec<Endpoint>,
}

/// One address and port behind a service port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    pub addr: EndpointAddr,
    pub state: EndpointState,
    pub node: Option<Arc<str>>,
    /// The pod that has this address, where one is known.
    pub pod: Option<PodUid>,
}

/// The conditions of an EndpointSlice endpoint that decide whether it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    Ready,
    /// `terminating` and still `serving`: used only when no endpoint is ready.
    Terminating,
    /// Never used.
    NotReady,
}

// === impl Service ===

impl Service {
    pub fn port(&self, port: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == port)
    }
}
