//! What all ServiceEntries of one namespace together say of one host.
//!
//! The oldest has precedence, of those that are as old the first by name. Addresses are united; of a port, and of what
//! the host has only once, that which has precedence is in force, and the others' is objected to.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use model::{Cidr, ObjectName};

use super::{HostPort, HostsEntry, RecordedAddress};
use crate::{
    index::{Claim, Entry},
    kind::{Kind, ObjectKey},
    refusal::Invalid,
};

/// All hosts, and what was put aside.
#[derive(Default)]
pub(in crate::index) struct Hosts<'a> {
    pub(in crate::index) hosts: BTreeMap<ObjectName, Host<'a>>,
    pub(in crate::index) objections: Vec<(ObjectKey, Invalid)>,
    /// The ServiceEntries in their order of precedence.
    pub(in crate::index) entries: Vec<&'a HostsEntry>,
}

pub(in crate::index) struct Host<'a> {
    /// The one that has precedence.
    pub(in crate::index) entry: &'a HostsEntry,
    /// Each with the entry that has it.
    pub(in crate::index) ports: Vec<(&'a HostsEntry, &'a HostPort)>,
    pub(in crate::index) addresses: Vec<IpAddr>,
    pub(in crate::index) networks: Vec<Cidr>,
    /// What an allocator has recorded for it in its ServiceEntry.
    pub(in crate::index) recorded: Vec<IpAddr>,
    /// Whether it is to be given an address where it has none.
    pub(in crate::index) is_eligible: bool,
}

/// `claims`: what belongs to pods and Services.
pub(in crate::index) fn merge<'a>(
    entries: &'a BTreeMap<ObjectKey, Entry>,
    claims: &HashMap<Claim, ObjectKey>,
) -> Hosts<'a> {
    let of_kind = |entry: &'a Entry| match entry {
        Entry::Hosts(entry) => Some(entry),
        _ => None,
    };
    let mut in_order: Vec<&HostsEntry> = entries.values().filter_map(of_kind).collect();
    in_order.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
    let mut hosts = Hosts::default();
    // Whose each address is that an allocator recorded: it is for one host alone.
    let mut holders: HashMap<IpAddr, Holder> = HashMap::new();
    for entry in &in_order {
        for (ip, _) in &entry.addresses {
            holders.entry(*ip).or_insert_with(|| Holder::Written(entry.name.clone()));
        }
    }
    for entry in &in_order {
        let addresses = hosts.own_addresses(entry, claims);
        for (n, host) in entry.hosts.iter().enumerate() {
            // A service of the model is known by its namespace and name.
            let service = ObjectKey::new(Kind::Service, Some(&entry.name.namespace), host);
            if entries.contains_key(&service) {
                let reason = format_args!("{host} is the name of {service}; it is left out");
                hosts.object(entry, format_args!("spec.hosts[{n}]"), reason);
                continue;
            }
            let recorded = hosts.recorded_addresses(entry, host, claims, &mut holders);
            hosts.add(entry, host, &addresses, &recorded);
        }
    }
    hosts.entries = in_order;
    hosts
}

enum Holder {
    /// `spec.addresses` of this ServiceEntry.
    Written(ObjectName),
    Recorded(ObjectName),
}

// === impl Hosts ===

impl<'a> Hosts<'a> {
    fn object(&mut self, entry: &HostsEntry, field: impl std::fmt::Display, reason: impl std::fmt::Display) {
        self.objections.push((key(entry), Invalid::new(field, reason)));
    }

    /// What is a pod's or a Service's is not for others to take.
    fn own_addresses(&mut self, entry: &HostsEntry, claims: &HashMap<Claim, ObjectKey>) -> Vec<IpAddr> {
        let mut own = Vec::new();
        for (ip, field) in &entry.addresses {
            match claims.get(&Claim::Address(*ip)) {
                Some(holder) => {
                    self.object(
                        entry,
                        field,
                        format_args!("address {ip} is already that of {holder}; it is left out"),
                    );
                }
                None => own.push(*ip),
            }
        }
        own
    }

    /// One that is also another's is left out.
    fn recorded_addresses(
        &mut self,
        entry: &HostsEntry,
        host: &Arc<str>,
        claims: &HashMap<Claim, ObjectKey>,
        holders: &mut HashMap<IpAddr, Holder>,
    ) -> Vec<IpAddr> {
        if !entry.is_eligible(host) {
            return Vec::new();
        }
        let name = ObjectName { namespace: entry.name.namespace.clone(), name: host.clone() };
        let mut recorded = Vec::new();
        for RecordedAddress { host: _, ip, field } in
            entry.status.iter().filter(|status| status.host == *host)
        {
            let holder = match (claims.get(&Claim::Address(*ip)), holders.get(ip)) {
                (Some(holder), _) => holder.to_string(),
                (None, Some(Holder::Written(other))) => format!("{} {other}", Kind::ServiceEntry),
                (None, Some(Holder::Recorded(other))) if *other != name => format!("host {other}"),
                (None, _) => {
                    holders.insert(*ip, Holder::Recorded(name.clone()));
                    recorded.push(*ip);
                    continue;
                }
            };
            self.object(
                entry,
                field,
                format_args!("address {ip} is already that of {holder}; it is left out"),
            );
        }
        recorded
    }

    fn add(&mut self, entry: &'a HostsEntry, host: &Arc<str>, addresses: &[IpAddr], recorded: &[IpAddr]) {
        let name = ObjectName { namespace: entry.name.namespace.clone(), name: host.clone() };
        let mut objections = Vec::new();
        let known = self.hosts.entry(name).or_insert_with(|| Host {
            entry,
            ports: Vec::new(),
            addresses: Vec::new(),
            networks: Vec::new(),
            recorded: Vec::new(),
            is_eligible: false,
        });
        let first = known.entry;
        if first.discovery != entry.discovery {
            let reason = format_args!("differs from that of {}, which has {host}, too", key(first));
            let reason = format!("{reason}; here that host is left out");
            return self.object(entry, "spec.resolution", reason);
        }
        if first.visibility != entry.visibility {
            let reason = format!("differs from that of {}, which has {host}, too; that holds", key(first));
            objections.push(("spec.exportTo", reason));
        }
        if first.location != entry.location {
            let reason = format!("differs from that of {}, which has {host}, too; that holds", key(first));
            objections.push(("spec.location", reason));
        }
        for port in &entry.ports {
            match known.ports.iter().find(|(_, other)| other.port == port.port) {
                None => known.ports.push((entry, port)),
                Some((winner, other)) => {
                    let is_same = (&other.name, other.target) == (&port.name, port.target)
                        && winner.backing == entry.backing;
                    if !is_same {
                        let winner = key(winner);
                        let reason =
                            format!("{} of {host} is already that of {winner}; that holds", port.port);
                        objections.push((&port.field, reason));
                    }
                }
            }
        }
        unite(&mut known.addresses, addresses);
        unite(&mut known.networks, &entry.networks);
        unite(&mut known.recorded, recorded);
        known.is_eligible |= entry.is_eligible(host);
        for (field, reason) in objections {
            self.object(entry, field, reason);
        }
    }
}

// === impl Host ===

impl Host<'_> {
    /// Whether it is for an allocator to give it one.
    pub(in crate::index) fn needs_address(&self) -> bool {
        self.has_none_of_its_own() && self.recorded.is_empty()
    }

    /// Whether an allocator is to see to it that it has one.
    pub(in crate::index) fn has_none_of_its_own(&self) -> bool {
        self.is_eligible && self.addresses.is_empty() && self.networks.is_empty()
    }
}

pub(in crate::index) fn key(entry: &HostsEntry) -> ObjectKey {
    ObjectKey::new(Kind::ServiceEntry, Some(&entry.name.namespace), &entry.name.name)
}

fn unite<T: Copy + PartialEq>(known: &mut Vec<T>, others: &[T]) {
    for other in others {
        if !known.contains(other) {
            known.push(*other);
        }
    }
}
