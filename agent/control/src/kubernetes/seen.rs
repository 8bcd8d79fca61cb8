//! What the watches tell of ServiceEntries that only their writer needs. PURE.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use allocation::Holder;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::ApiResource;
use model::ObjectName;
use serde_json::Value;

use super::event::{Change, Topic};
use crate::{
    entries::{Asked, Entries, Entry},
    kind::Kind,
    object::Object,
};

/// The program of istiod.
const ISTIOD: &str = "pilot-discovery";

#[derive(Debug, Default)]
pub(super) struct SeenEntries {
    entries: BTreeMap<ObjectName, Entry>,
    /// Those of a list that is not complete.
    listing: BTreeSet<ObjectName>,
}

// === impl SeenEntries ===

impl SeenEntries {
    pub(super) fn on(&mut self, topic: Topic, change: &Change) {
        if topic != Topic::Objects(Kind::ServiceEntry) {
            return;
        }
        match change {
            Change::Listing => self.listing.clear(),
            Change::Page(objects) => {
                for object in objects {
                    let name = self.insert(object);
                    self.listing.extend(name);
                }
            }
            Change::Listed => self.entries.retain(|name, _| self.listing.contains(name)),
            Change::Applied(object) => drop(self.insert(object)),
            Change::Deleted(key) => drop(self.entries.remove(&key.object_name())),
            Change::Standing | Change::Failed(_) | Change::Served(_) => {}
        }
    }

    pub(super) fn end(&mut self, kind: Kind) {
        if kind == Kind::ServiceEntry {
            self.entries.clear();
        }
    }

    /// Together with what the index makes of them.
    pub(super) fn join(&self, asked: Asked, resource: Option<ApiResource>) -> Entries {
        let Asked { entries: meanings, hosts, recorded, mut taken } = asked;
        let mut entries = self.entries.clone();
        for (name, meaning) in meanings {
            if let Some(entry) = entries.get_mut(&name) {
                entry.meaning = Some(meaning);
            }
        }
        // Who mends one that makes no sense finds its addresses where they were.
        for (name, entry) in entries.iter().filter(|(_, entry)| entry.meaning.is_none()) {
            for ip in entry.status.iter().flat_map(addresses) {
                let holder = || Holder::Entry(format!("{} {name}", Kind::ServiceEntry));
                taken.addresses.entry(ip).or_insert_with(holder);
            }
        }
        Entries { resource, entries, hosts, recorded, taken }
    }

    fn insert(&mut self, object: &Object) -> Option<ObjectName> {
        let Object::ServiceEntry(entry) = object else { return None };
        let name = object.key().object_name();
        let metadata = &entry.metadata;
        let seen = Entry {
            uid: metadata.uid.clone(),
            version: metadata.resource_version.clone().unwrap_or_default(),
            status: entry.status.clone(),
            is_istiods: metadata.managed_fields.iter().flatten().any(is_istiods),
            meaning: None,
        };
        self.entries.insert(name.clone(), seen);
        Some(name)
    }
}

fn is_istiods(fields: &ManagedFieldsEntry) -> bool {
    let addresses = |fields: &Value| fields.pointer("/f:status/f:addresses").is_some();
    fields.manager.as_deref() == Some(ISTIOD) && fields.fields_v1.as_ref().is_some_and(|v1| addresses(&v1.0))
}

fn addresses(status: &Value) -> impl Iterator<Item = IpAddr> {
    let written = status["addresses"].as_array().into_iter().flatten();
    written.filter_map(|address| address["value"].as_str()?.parse().ok())
}

#[cfg(test)]
mod tests;
