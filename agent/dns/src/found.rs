//! What a name stands for that is known.

use std::{collections::HashSet, fmt, net::IpAddr, sync::Arc};

use model::{EndpointState, Registry, Service, Snapshot};

use crate::{Client, Match, seen::absolute};

/// An `ExternalName` may lead to another. More than so many are a mistake.
const ALIASES_MAX: usize = 8;

/// The service that a client means by a name.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    pub service: &'a Arc<Service>,
    pub by: Match<'a>,
    /// The search domain without which the name was found.
    pub search: Option<Arc<str>>,
    pub meaning: Result<Meaning<'a>, Unanswerable<'a>>,
}

/// Addresses, perhaps by way of other names.
#[derive(Clone, Debug)]
pub struct Meaning<'a> {
    /// The `ExternalName`s on the way, in their order.
    pub aliases: Vec<&'a str>,
    /// Whose addresses they are; that of [`Found`] if there are no aliases.
    pub service: &'a Arc<Service>,
    source: Source<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    /// Those that belong to the service.
    Service,
    /// Those of its ready endpoints.
    Endpoints,
    /// Those of one endpoint.
    Endpoint(&'a [IpAddr]),
}

/// Why a known name is left to the client's resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswerable<'a> {
    /// Of a service that is to have an address, or of whose addresses only networks are known.
    NoAddress(&'a Arc<Service>),
    /// A headless service without a ready endpoint.
    NoEndpoint(&'a Arc<Service>),
    /// Its clients dial what the name means outside the mesh.
    External(&'a Arc<Service>),
    /// An `ExternalName` that the mesh does not know. A `CNAME` alone would be taken for a name without addresses, for
    /// stub resolvers do not follow it; the cluster's DNS does.
    ExternalName(&'a str),
    /// `ExternalName`s that lead round in a circle, or too far.
    Loop(&'a str),
}

/// Of a service by what it was found, after all its aliases.
pub(crate) fn meaning<'a>(
    snapshot: &'a Snapshot,
    client: &Client<'_>,
    mut service: &'a Arc<Service>,
    mut by: Match<'a>,
) -> Result<Meaning<'a>, Unanswerable<'a>> {
    let mut aliases = Vec::new();
    while let Some(alias) = service.external_name.as_deref() {
        if aliases.len() == ALIASES_MAX {
            return Err(Unanswerable::Loop(alias));
        }
        aliases.push(alias);
        let name = alias.strip_suffix('.').unwrap_or(alias).to_ascii_lowercase();
        (service, by) = absolute(snapshot, client, &name).ok_or(Unanswerable::ExternalName(alias))?;
    }
    let source = source(service, by, &snapshot.cluster_domain)?;
    Ok(Meaning { aliases, service, source })
}

fn source<'a>(
    service: &'a Arc<Service>,
    by: Match<'a>,
    cluster_domain: &str,
) -> Result<Source<'a>, Unanswerable<'a>> {
    if let Match::Endpoint(ips) = by {
        return Ok(Source::Endpoint(ips));
    }
    if service.addresses().next().is_some() {
        return Ok(Source::Service);
    }
    if !service.is_headless() {
        return Err(Unanswerable::NoAddress(service));
    }
    // As in ztunnel: what is called like a service of the cluster is answered like one.
    let in_cluster = service.registry == Registry::Kubernetes
        || service
            .host
            .strip_suffix(cluster_domain)
            .is_some_and(|host| host.ends_with(".svc.") && service.wildcard_suffix().is_none());
    if !in_cluster {
        return Err(Unanswerable::External(service));
    }
    if ready(service).next().is_none() {
        return Err(Unanswerable::NoEndpoint(service));
    }
    Ok(Source::Endpoints)
}

/// Each stands once in each port.
fn ready(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    service
        .ports
        .iter()
        .flat_map(|port| &port.endpoints)
        .filter(|endpoint| endpoint.state == EndpointState::Ready)
        .map(|endpoint| endpoint.addr.ip())
}

// === impl Meaning ===

impl Meaning<'_> {
    /// Each once, in the order of the service.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut seen = HashSet::new();
        self.all(|_| true).into_iter().filter(|ip| seen.insert(*ip)).collect()
    }

    /// At most so many of them that are wanted, each once, drawn at random: of a service of ten thousand endpoints, a
    /// datagram holds a hundred. `random(n)` draws from `0..n`.
    pub(crate) fn draw(
        &self,
        wanted: impl Fn(IpAddr) -> bool,
        at_most: usize,
        mut random: impl FnMut(usize) -> usize,
    ) -> Vec<IpAddr> {
        let mut all = self.all(wanted);
        if all.len() < 2 {
            return all;
        }
        let mut seen = HashSet::new();
        let mut drawn = 0;
        for i in 0..all.len() {
            if drawn == at_most {
                break;
            }
            let j = i + random(all.len() - i);
            all.swap(i, j);
            if seen.insert(all[i]) {
                all.swap(drawn, i);
                drawn += 1;
            }
        }
        all.truncate(drawn);
        all
    }

    fn all(&self, wanted: impl Fn(IpAddr) -> bool) -> Vec<IpAddr> {
        let wanted = |ip: &IpAddr| wanted(*ip);
        match self.source {
            Source::Service => self.service.addresses().map(|ip| ip.to_canonical()).filter(wanted).collect(),
            Source::Endpoints => ready(self.service).map(|ip| ip.to_canonical()).filter(wanted).collect(),
            Source::Endpoint(ips) => ips.iter().map(IpAddr::to_canonical).filter(wanted).collect(),
        }
    }
}

// === impl Found ===

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            Match::Host => write!(f, "{}", of(self.service))?,
            Match::Endpoint(_) => write!(f, "an endpoint of {}", of(self.service))?,
            Match::Wildcard => write!(f, "{} by its wildcard {}", of(self.service), self.service.host)?,
        }
        if let Some(search) = &self.search {
            write!(f, ", without the search domain {search}")?;
        }
        match &self.meaning {
            Ok(meaning) => {
                for alias in &meaning.aliases {
                    write!(f, ", alias of {alias}")?;
                }
                Ok(())
            }
            Err(because) => write!(f, ": {because}"),
        }
    }
}

// === impl Unanswerable ===

impl fmt::Display for Unanswerable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress(service) => write!(f, "{} has no address yet, or only networks", of(service)),
            Self::NoEndpoint(service) => write!(f, "{} has no ready endpoint", of(service)),
            Self::External(service) => {
                write!(f, "{} has no address of its own, and is outside the cluster", of(service))
            }
            Self::ExternalName(alias) => write!(f, "the ExternalName {alias} is no host of the mesh"),
            Self::Loop(alias) => {
                write!(f, "ExternalNames lead to {alias} round in a circle, or over more than {ALIASES_MAX}")
            }
        }
    }
}

/// As one speaks of it.
fn of(service: &Service) -> String {
    let kind = match service.registry {
        _ if service.external_name.is_some() => "ExternalName",
        Registry::Kubernetes if service.is_headless() => "headless service",
        Registry::Kubernetes => "service",
        Registry::ServiceEntry => "ServiceEntry host",
    };
    format!("{kind} {}", service.name)
}
