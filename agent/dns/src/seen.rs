//! What a client sees of the snapshot, by exact names and wildcards.

use std::{net::IpAddr, sync::Arc};

use model::{Service, Snapshot};

use crate::names::wildcards;

/// The pod that asks.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    pub namespace: &'a str,
    /// What its resolver appends to a name, in this order: in lower case and without the last dot.
    pub search: &'a [Arc<str>],
}

/// By what of the service it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match<'a> {
    Host,
    /// The name of one of its endpoints, which has these addresses.
    Endpoint(&'a [IpAddr]),
    /// Its host is a wildcard, in which the name is.
    Wildcard,
}

/// A service, and by what of it it was found.
pub(crate) type Hit<'a> = (&'a Arc<Service>, Match<'a>);

/// What has exactly this name, whoever asks in whatever namespace: the target of an `ExternalName` is no short form.
pub(crate) fn absolute<'a>(snapshot: &'a Snapshot, client: &Client<'_>, name: &str) -> Option<Hit<'a>> {
    exact(snapshot, client, name).or_else(|| wildcard(snapshot, client, name))
}

/// The most specific wildcard in which the name is.
pub(crate) fn wildcard<'a>(snapshot: &'a Snapshot, client: &Client<'_>, name: &str) -> Option<Hit<'a>> {
    let service = wildcards(name).find_map(|host| service(snapshot, client, &host))?;
    Some((service, Match::Wildcard))
}

pub(crate) fn exact<'a>(snapshot: &'a Snapshot, client: &Client<'_>, name: &str) -> Option<Hit<'a>> {
    if let Some(service) = service(snapshot, client, name) {
        return Some((service, Match::Host));
    }
    let (service, ips) = snapshot.endpoints_of_host(name)?;
    service.visibility.includes(client.namespace).then_some((service, Match::Endpoint(ips)))
}

/// The service of this host that the client sees: of several that of its own namespace, then that of Kubernetes. Which
/// one is meant does not depend on whether it has an address, else a name would change hands while one is allocated.
fn service<'a>(snapshot: &'a Snapshot, client: &Client<'_>, host: &str) -> Option<&'a Arc<Service>> {
    snapshot
        .services_of_host(host)
        .filter(|service| service.visibility.includes(client.namespace))
        // The first of equals, and those of Kubernetes come first.
        .min_by_key(|service| &*service.name.namespace != client.namespace)
}
