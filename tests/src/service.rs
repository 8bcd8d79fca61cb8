//! Services and who serves them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;

use crate::{
    Pod,
    lab::{LabId, Shared},
    manifest::{self, Labels, PodObject},
};

/// A service that the agents know of.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    object: ServiceObject,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

/// A service that is being described: dual stack, with a VIP of each family, unless told otherwise.
#[derive(Debug)]
#[must_use = "a service exists only after `apply`"]
pub struct ServiceBuilder(Service);

/// One pod behind a service, with the conditions of an EndpointSlice.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub(crate) pod: PodObject,
    pub(crate) ready: bool,
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
}

/// What the manifests of a service and its slices say.
#[derive(Clone, Debug)]
pub(crate) struct ServiceObject {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Empty for a headless service.
    pub(crate) vips: Vec<IpAddr>,
    pub(crate) ports: Vec<ServicePort>,
    pub(crate) selector: Labels,
    pub(crate) client_ip_affinity: Option<Duration>,
    pub(crate) local: bool,
    pub(crate) endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug)]
pub(crate) struct ServicePort {
    pub(crate) name: String,
    pub(crate) number: u16,
    pub(crate) target: Target,
}

/// `targetPort`.
#[derive(Clone, Debug)]
pub enum Target {
    Number(u16),
    Name(String),
}

// === impl ServiceBuilder ===

impl ServiceBuilder {
    pub(crate) fn new(shared: Arc<Shared>, namespace: &str, name: &str) -> Self {
        let vip = shared.next_vip();
        let object = ServiceObject {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            vips: vec![vip.v4.into(), vip.v6.into()],
            ports: Vec::new(),
            selector: Labels::new(),
            client_ip_affinity: None,
            local: false,
            endpoints: Vec::new(),
        };
        Self(Service { shared, object, v4: vip.v4, v6: vip.v6 })
    }

    /// The VIPs, instead of those that the lab gives.
    pub fn vip(mut self, v4: Ipv4Addr, v6: Ipv6Addr) -> Self {
        self.0.object.vips = vec![v4.into(), v6.into()];
        self.0.v4 = v4;
        self.0.v6 = v6;
        self
    }

    pub fn headless(mut self) -> Self {
        self.0.object.vips.clear();
        self
    }

    /// A port, and the number or name of the container port behind it.
    pub fn port(mut self, name: &str, number: u16, target: impl Into<Target>) -> Self {
        let port = ServicePort { name: name.to_owned(), number, target: target.into() };
        self.0.object.ports.push(port);
        self
    }

    pub fn selector(mut self, key: &str, value: &str) -> Self {
        self.0.object.selector.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The pods that serve it, all ready.
    pub fn endpoints(mut self, pods: &[&Pod]) -> Self {
        self.0.object.endpoints = pods.iter().map(|pod| Endpoint::ready(pod)).collect();
        self
    }

    /// `sessionAffinity: ClientIP`.
    pub fn client_ip_affinity(mut self, timeout: Duration) -> Self {
        self.0.object.client_ip_affinity = Some(timeout);
        self
    }

    /// `internalTrafficPolicy: Local`.
    pub fn node_local(mut self) -> Self {
        self.0.object.local = true;
        self
    }

    pub fn apply(self) -> Result<Service> {
        let Self(service) = self;
        service.shared.need_namespace(&service.object.namespace)?;
        service.write()?;
        Ok(service)
    }
}

// === impl Service ===

impl Service {
    pub fn v4_addr(&self, port: u16) -> SocketAddr {
        (self.v4, port).into()
    }

    pub fn v6_addr(&self, port: u16) -> SocketAddr {
        (self.v6, port).into()
    }

    /// Other endpoints than until now.
    pub fn set_endpoints(&mut self, endpoints: Vec<Endpoint>) -> Result<()> {
        let id = self.id().clone();
        let stale = self.slice_files();
        self.object.endpoints = endpoints;
        self.write()?;
        let current = self.slice_files();
        for file in stale.iter().filter(|file| !current.contains(file)) {
            id.remove_manifest(file)?;
        }
        Ok(())
    }

    /// Deletes the service and its slices.
    pub fn withdraw(self) -> Result<()> {
        let service = manifest::file_name(&manifest::service(&self.object));
        for file in self.slice_files().into_iter().chain([service]) {
            self.id().remove_manifest(&file)?;
        }
        Ok(())
    }

    fn write(&self) -> Result<()> {
        for slice in manifest::endpoint_slices(&self.object) {
            self.id().write_object(&slice)?;
        }
        self.id().write_object(&manifest::service(&self.object))
    }

    fn slice_files(&self) -> Vec<String> {
        manifest::endpoint_slices(&self.object).iter().map(manifest::file_name).collect()
    }

    fn id(&self) -> &LabId {
        &self.shared.id
    }
}

// === impl Endpoint ===

impl Endpoint {
    pub fn ready(pod: &Pod) -> Self {
        Self { pod: pod.object(), ready: true, serving: true, terminating: false }
    }

    pub fn not_ready(pod: &Pod) -> Self {
        Self { pod: pod.object(), ready: false, serving: false, terminating: false }
    }

    /// Being deleted, still serving.
    pub fn terminating(pod: &Pod) -> Self {
        Self { pod: pod.object(), ready: false, serving: true, terminating: true }
    }
}

// === impl Target ===

impl From<u16> for Target {
    fn from(number: u16) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Target {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}
