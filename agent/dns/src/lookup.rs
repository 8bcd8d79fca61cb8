//! From the name that a client asks for to the service that it means.

use std::sync::Arc;

use model::Snapshot;

use crate::{
    Client, Found,
    found::meaning,
    names::{expansions, is_within, stripped},
    seen::{exact, wildcard},
};

/// What a name means to this client; `None` is to be left to its resolver.
///
/// Tried are the name as it was asked, its Kubernetes expansions, and the same of what is left without a search domain.
/// Only then come wildcards, where ztunnel tries those of one name before the next name: with it a `*.local` takes every
/// name that a resolver tries with a search domain first, `web.other` among them, whose service is known. Nor does a
/// wildcard take an expansion, which nobody asked for: else `*.cluster.local` would take `example.com`.
///
/// What is left without a search domain outside the cluster's is no short form, and only its exact host counts:
/// `web.example.com` must not become the service `web` because a node's search list has `example.com`.
pub fn lookup<'a>(snapshot: &'a Snapshot, client: &Client<'_>, name: &str) -> Option<Found<'a>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        lookup_lower(snapshot, client, &name.to_ascii_lowercase())
    } else {
        lookup_lower(snapshot, client, name)
    }
}

/// The name is in lower case and without the last dot.
pub(crate) fn lookup_lower<'a>(snapshot: &'a Snapshot, client: &Client<'_>, name: &str) -> Option<Found<'a>> {
    let domain: &str = &snapshot.cluster_domain;
    let expanded = |name: &str| {
        expansions(name, client.namespace, domain).find_map(|name| exact(snapshot, client, &name))
    };
    let wildcard = |name: &str| wildcard(snapshot, client, name);
    let stripped =
        || stripped(name, client.search).map(|(search, name)| (search, name, is_within(search, domain)));
    let found = |(service, by), search: Option<&Arc<str>>| {
        let meaning = meaning(snapshot, client, service, by);
        Found { service, by, search: search.cloned(), meaning }
    };

    if let Some(hit) = exact(snapshot, client, name).or_else(|| expanded(name)) {
        return Some(found(hit, None));
    }
    for (search, name, in_cluster) in stripped() {
        let hit = exact(snapshot, client, name).or_else(|| in_cluster.then(|| expanded(name)).flatten());
        if let Some(hit) = hit {
            return Some(found(hit, Some(search)));
        }
    }
    if let Some(hit) = wildcard(name) {
        return Some(found(hit, None));
    }
    stripped()
        .filter(|&(_, _, in_cluster)| in_cluster)
        .find_map(|(search, name, _)| Some(found(wildcard(name)?, Some(search))))
}

#[cfg(test)]
mod tests;
