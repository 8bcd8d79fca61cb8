//! What a name stands for that is known.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use model::{ReadyAddresses, Registry, Service, Snapshot};

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
    Endpoints(&'a ReadyAddresses),
    /// Those of one endpoint.
    Endpoint(&'a [IpAddr]),
}

/// What a query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
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
    let source = source(snapshot, service, by)?;
    Ok(Meaning { aliases, service, source })
}

fn source<'a>(
    snapshot: &'a Snapshot,
    service: &'a Arc<Service>,
    by: Match<'a>,
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
            .strip_suffix(&*snapshot.cluster_domain)
            .is_some_and(|host| host.ends_with(".svc.") && service.wildcard_suffix().is_none());
    if !in_cluster {
        return Err(Unanswerable::External(service));
    }
    let ready = snapshot.ready_addresses(&service.name).ok_or(Unanswerable::NoEndpoint(service))?;
    Ok(Source::Endpoints(ready))
}

// === impl Family ===

impl Family {
    fn includes(self, ip: IpAddr) -> bool {
        match self {
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }
}

// === impl Meaning ===

impl Meaning<'_> {
    /// Each once, in the order of the service.
    pub fn addresses(&self) -> Vec<IpAddr> {
        [Family::V4, Family::V6].iter().flat_map(|&family| self.of(family).into_owned()).collect()
    }

    /// At most so many of a family, each once, drawn at random: of a service of ten thousand endpoints, a datagram
    /// holds a hundred. `random(n)` draws from `0..n`.
    pub(crate) fn draw(
        &self,
        family: Family,
        at_most: usize,
        mut random: impl FnMut(usize) -> usize,
    ) -> Vec<IpAddr> {
        let all = self.of(family);
        // They are dealt as from a shuffled deck, of which is only written down what lies elsewhere than at first.
        let mut elsewhere = HashMap::new();
        let dealt = (0..all.len().min(at_most)).map(|i| {
            let at_i = elsewhere.remove(&i).unwrap_or(i);
            let j = i + random(all.len() - i);
            let dealt = if i == j { at_i } else { elsewhere.insert(j, at_i).unwrap_or(j) };
            all[dealt]
        });
        dealt.collect()
    }

    fn of(&self, family: Family) -> Cow<'_, [IpAddr]> {
        let few = |ips: &mut dyn Iterator<Item = IpAddr>| {
            let ips = ips.map(|ip| ip.to_canonical()).filter(|&ip| family.includes(ip));
            let mut ips: Vec<_> = ips.collect();
            if 1 < ips.len() {
                let mut seen = HashSet::new();
                ips.retain(|ip| seen.insert(*ip));
            }
            Cow::Owned(ips)
        };
        match (self.source, family) {
            (Source::Endpoints(ready), Family::V4) => Cow::Borrowed(&ready.v4),
            (Source::Endpoints(ready), Family::V6) => Cow::Borrowed(&ready.v6),
            (Source::Service, _) => few(&mut self.service.addresses()),
            (Source::Endpoint(ips), _) => few(&mut ips.iter().copied()),
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
