//! Services and the endpoints that serve them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{Cidr, EndpointAddr, ObjectName, PodUid};

/// What is called by a name and serves TCP ports: a Kubernetes Service, or one host of Istio's ServiceEntries, joined
/// with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Of a ServiceEntry its namespace and the host, for it may have several.
    pub name: ObjectName,
    /// Its whole name in DNS, in lower case and without the last dot. `*.example.com` stands for all names below.
    pub host: Arc<str>,
    pub registry: Registry,
    /// `spec.clusterIPs` or `spec.addresses`; empty for a headless service.
    pub vips: Vec<IpAddr>,
    /// What it was given for want of an address of its own.
    pub allocated: Vec<IpAddr>,
    /// Of a ServiceEntry: the networks among its addresses.
    pub networks: Vec<Cidr>,
    pub ports: Vec<ServicePort>,
    pub discovery: Discovery,
    /// Of a ServiceEntry.
    pub location: Option<Location>,
    /// `spec.externalName`: only another name.
    pub external_name: Option<Arc<str>>,
    pub visibility: Visibility,
    pub affinity: Affinity,
    /// `internalTrafficPolicy: Local`: only endpoints on the client's node serve it.
    pub node_local: bool,
}

/// Which kind of object says that there is such a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Registry {
    Kubernetes,
    ServiceEntry,
}

/// How an endpoint is found for a connection; `spec.resolution` of a ServiceEntry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Discovery {
    /// One of [`ServicePort::endpoints`].
    #[default]
    Endpoints,
    /// The address that was dialled: headless services, and `NONE`.
    AsDialled,
    /// `DNS`: all addresses of [`ServicePort::names`].
    Dns,
    /// `DNS_ROUND_ROBIN`: the first address of one of them.
    DnsRoundRobin,
    /// `DYNAMIC_DNS`: the name that the client asked for, of all those that a wildcard stands for.
    DynamicDns,
}

/// `spec.location` of a ServiceEntry, in Istio's words: whether its hosts are part of the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    #[default]
    MeshExternal,
    MeshInternal,
}

/// `exportTo`: from which namespaces the service is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    #[default]
    Everywhere,
    Namespaces(BTreeSet<Arc<str>>),
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServicePort {
    /// Empty where the service has a single, unnamed port.
    pub name: Arc<str>,
    pub port: u16,
    pub endpoints: Vec<Endpoint>,
    /// How many times the connections of an endpoint of weight 1 each of these is to have; empty where nobody says.
    pub weights: BTreeMap<EndpointAddr, NonZeroU32>,
    /// Of a service that is discovered by DNS.
    pub names: Vec<NamedEndpoint>,
}

/// One address and port behind a service port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    pub addr: EndpointAddr,
    pub state: EndpointState,
    pub node: Option<Arc<str>>,
    /// The pod that has this address, where one is known.
    pub pod: Option<PodUid>,
    /// Its own name below that of its service, as pods of a StatefulSet have one.
    pub hostname: Option<Arc<str>>,
}

/// What is behind a service port, where only its name is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct NamedEndpoint {
    /// In lower case and without the last dot.
    pub host: Arc<str>,
    pub port: u16,
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
    /// What is true of a Kubernetes Service that says nothing else: no address, no port.
    pub fn kubernetes(name: ObjectName, cluster_domain: &str) -> Self {
        let host = format!("{}.{}.svc.{cluster_domain}", name.name, name.namespace).into();
        Self::new(name, host, Registry::Kubernetes)
    }

    /// One host of a ServiceEntry that says nothing else.
    pub fn entry(namespace: &str, host: &str) -> Self {
        let service = Self::new(ObjectName::new(namespace, host), host.into(), Registry::ServiceEntry);
        Self { location: Some(Location::default()), ..service }
    }

    fn new(name: ObjectName, host: Arc<str>, registry: Registry) -> Self {
        Self {
            name,
            host,
            registry,
            vips: Vec::new(),
            allocated: Vec::new(),
            networks: Vec::new(),
            ports: Vec::new(),
            discovery: Discovery::default(),
            location: None,
            external_name: None,
            visibility: Visibility::default(),
            affinity: Affinity::default(),
            node_local: false,
        }
    }

    pub fn port(&self, port: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|p| p.port == port)
    }

    /// All that may be dialled for it, and by which DNS answers for its name.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.vips.iter().chain(&self.allocated).copied()
    }

    pub fn is_headless(&self) -> bool {
        self.discovery == Discovery::AsDialled
    }

    /// What its host must end in, where that is a wildcard: `.example.com` of `*.example.com`.
    pub fn wildcard_suffix(&self) -> Option<&str> {
        self.host.strip_prefix('*')
    }
}

// === impl Visibility ===

impl Visibility {
    pub fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }
}

// === impl NamedEndpoint ===

impl fmt::Display for NamedEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}
