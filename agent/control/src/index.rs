//! The one place where the objects of the cluster meet: synchronous, without locks and without IO.
//!
//! Each object is parsed when it arrives. What it may have only for itself (an address, a UID, a network
//! namespace) is a *claim*; an object whose claim another object already holds is refused, and waits until that one
//! gives way. [`Index::snapshot`] joins what was taken.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::Arc,
};

use allocation::{Demand, Holder, Reconciled, Taken};
use model::{OutboundPolicy, Snapshot};

use crate::{
    dns::DnsConfig,
    enrolment::EnrolmentConfig,
    entries::Asked,
    exclusions::ExclusionConfig,
    kind::{Kind, ObjectKey, PolicyKind},
    object::Object,
    refusal::{Invalid, Refusal},
};

mod claim;
mod entry;
mod hosts;
mod namespaces;
mod nodes;
mod pods;
pub(crate) use self::pods::REDIRECTION;
mod policies;
mod service_cidrs;
mod services;
mod slices;
mod snapshot;

use self::{
    claim::Claim,
    entry::Entry,
    hosts::{allocation::Allocations, merge::Hosts},
    policies::PolicyEntry,
};

/// The objects that were taken, each in its last good version.
#[derive(Debug, Default)]
pub struct Index {
    config: IndexConfig,
    entries: BTreeMap<ObjectKey, Entry>,
    /// Who holds what; exactly the claims of `entries`.
    claims: HashMap<Claim, ObjectKey>,
    /// Sound in themselves, but another object holds one of their claims.
    waiting: BTreeMap<ObjectKey, Entry>,
    /// Why the newest version of an object is not in force.
    refused: BTreeMap<ObjectKey, Refusal>,
    /// What hosts were given that have no address of their own, and what is kept for those that are gone.
    allocated: Reconciled,
}

#[derive(Clone, Debug, Default)]
pub struct IndexConfig {
    pub enrolment: EnrolmentConfig,
    pub exclusions: ExclusionConfig,
    pub dns: DnsConfig,
    /// Of namespaces without the annotation `millstream.dev/outbound-traffic-policy`.
    pub outbound_policy: OutboundPolicy,
    /// Whether the annotation `millstream.dev/netns` of a pod is believed: it lets the author of a pod choose a path
    /// on the node.
    pub honour_netns_annotation: bool,
}

/// What an object came to when it was read; not in force yet.
#[derive(Debug)]
pub(crate) struct Parsed {
    key: ObjectKey,
    entry: Result<Entry, Refusal>,
}

/// How good the right of a newly read object to its claims is, best first. See [`Index::reset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Precedence {
    /// A known object that claims nothing new.
    Content,
    /// A known object that claims more than before.
    Greedy,
    Stranger,
}

// === impl Index ===

impl Index {
    pub fn new(config: IndexConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Takes a new object, or a new version of a known one.
    ///
    /// # Errors
    ///
    /// The object is refused and its last good version stays. Exceptions, all reported the same: unknown values of
    /// `millstream.dev/when-agent-down`, `millstream.dev/existing-connections` and
    /// `millstream.dev/outbound-traffic-policy` are taken for `closed`, `keep` and `REGISTRY_ONLY`, those of `millstream.dev/exclude-…` for the last good ones, and a policy that makes no sense is taken to select
    /// all that it could.
    pub fn apply(&mut self, object: &Object) -> Result<(), Refusal> {
        let Parsed { key, entry } = self.parse(object);
        self.waiting.remove(&key);
        self.refused.remove(&key);
        let entry = entry.inspect_err(|refusal| self.refuse(refusal))?;
        let objection = entry.objections().first().cloned();
        self.admit(&key, entry)?;
        self.admit_waiting();
        objection.map_or(Ok(()), |invalid| Err(invalid.of(&key)))
    }

    pub fn delete(&mut self, key: &ObjectKey) {
        self.waiting.remove(key);
        self.refused.remove(key);
        self.remove(key);
        self.admit_waiting();
    }

    /// Takes `objects` for all there is: what is not among them goes.
    ///
    /// Where two objects claim the same, the one that held it before keeps it; among new ones the first wins.
    /// Returns everything that is wrong at present, not only what is new.
    pub fn reset(&mut self, objects: &[Object]) -> Vec<Refusal> {
        let parsed = objects.iter().map(|object| self.parse(object)).collect();
        let last_good = mem::take(&mut self.entries);
        self.claims.clear();
        self.waiting.clear();
        self.refused.clear();
        let mut refusals = self.replace(last_good, parsed);
        refusals.extend(self.objections());
        refusals
    }

    /// What an object comes to, for [`Index::reset_kind`].
    pub(crate) fn parse(&self, object: &Object) -> Parsed {
        let key = object.key();
        let entry = Entry::parse(&key, object, self.entries.get(&key), &self.config);
        Parsed { entry: entry.map_err(|invalid| invalid.of(&key)), key }
    }

    /// The same as [`Index::reset`], of one kind alone. Each object is parsed when it comes, so that nobody needs to
    /// hold all of them at once; meanwhile no other object of the kind may be applied or deleted.
    pub(crate) fn reset_kind(&mut self, kind: Kind, parsed: Vec<Parsed>) {
        self.waiting.retain(|key, _| key.kind != kind);
        self.refused.retain(|key, _| key.kind != kind);
        let known: Vec<ObjectKey> = self.entries.keys().filter(|key| key.kind == kind).cloned().collect();
        let last_good =
            known.into_iter().filter_map(|key| self.remove(&key).map(|entry| (key, entry))).collect();
        self.replace(last_good, parsed);
        self.admit_waiting();
    }

    /// Until objects of this kind are known, takes one for there that may select every pod.
    pub(crate) fn assume(&mut self, kind: PolicyKind) {
        let (key, assumed) = PolicyEntry::assumed(kind);
        self.insert(&key, Entry::Policy(assumed));
    }

    /// Everything that is wrong at present.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        self.refused.values().cloned().chain(self.objections()).collect()
    }

    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether the newest version of the object is not in force; not, if only a part of it was put aside.
    pub(crate) fn is_refused(&self, key: &ObjectKey) -> bool {
        self.refused.contains_key(key)
    }

    /// Which hosts are to be given addresses.
    pub(crate) fn demand(&self) -> Demand {
        hosts::allocation::demand(&self.hosts(), self.taken(), &self.config.dns.allocation.ranges)
    }

    /// The same for whoever writes their status.
    pub(crate) fn asked(&self) -> Asked {
        hosts::allocation::asked(&self.hosts(), self.taken(), &self.config.dns.allocation.ranges)
    }

    /// What of the ranges is the cluster's, or is to be.
    fn taken(&self) -> Taken {
        let ranges = &self.config.dns.allocation.ranges;
        let mut taken = Taken::default();
        for (claim, holder) in &self.claims {
            if let Claim::Address(ip) = claim
                && ranges.contains(*ip)
            {
                taken.addresses.insert(*ip, Holder::Cluster(holder.to_string()));
            }
        }
        for (key, entry) in &self.entries {
            if let Entry::ServiceCidr(networks) = entry {
                taken.services.extend(networks.iter().map(|network| (*network, key.to_string())));
            }
        }
        taken
    }

    /// What they were given, and is written down where the other agents find it.
    pub(crate) fn allocate(&mut self, allocated: Reconciled) {
        self.allocated = allocated;
    }

    pub fn snapshot(&self, version: u64) -> Arc<Snapshot> {
        let hosts = self.hosts();
        let allocations = Allocations::of(&hosts, &self.allocated, &self.config.dns.allocation);
        snapshot::join(&self.entries, &hosts.hosts, allocations, &self.config, version)
    }

    /// Puts what was read in the place of `last_good`, whose claims are free. Returns what is refused.
    fn replace(&mut self, mut last_good: BTreeMap<ObjectKey, Entry>, parsed: Vec<Parsed>) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        let mut changed = Vec::new();
        let mut seen = BTreeSet::new();
        for Parsed { key, entry } in parsed {
            if !seen.insert(key.clone()) {
                refusals.push(Invalid::new("metadata.name", "the same object was given before").of(&key));
                continue;
            }
            match entry {
                Ok(entry) if last_good.get(&key) != Some(&entry) => changed.push((key, entry)),
                Ok(_) => self.restore(&key, &mut last_good),
                Err(refusal) => {
                    self.refuse(&refusal);
                    refusals.push(refusal);
                    self.restore(&key, &mut last_good);
                }
            }
        }

        changed.sort_by_key(|(key, entry)| Precedence::of(entry, last_good.get(key)));
        let mut contested = Vec::new();
        for (key, entry) in changed {
            if let Err(refusal) = self.admit(&key, entry) {
                refusals.push(refusal);
                contested.push(key);
            }
        }
        for key in contested {
            self.restore(&key, &mut last_good);
        }
        refusals
    }

    fn objections(&self) -> impl Iterator<Item = Refusal> {
        let of = |(key, entry): (&ObjectKey, &Entry)| {
            entry.objections().iter().map(|objection| objection.clone().of(key)).collect::<Vec<_>>()
        };
        let merged = self.hosts().objections.into_iter().map(|(key, objection)| objection.of(&key));
        self.entries.iter().flat_map(of).chain(merged)
    }

    /// What the ServiceEntries say, where that does not contradict what pods and Services are.
    fn hosts(&self) -> Hosts<'_> {
        hosts::merge::merge(&self.entries, &self.claims)
    }

    fn refuse(&mut self, refusal: &Refusal) {
        self.refused.insert(refusal.object.clone(), refusal.clone());
    }

    /// Puts `entry` in the place of its predecessor; or, if another object holds a claim of it, lets it wait.
    fn admit(&mut self, key: &ObjectKey, entry: Entry) -> Result<(), Refusal> {
        match self.contested(key, &entry) {
            Some(invalid) => {
                self.waiting.insert(key.clone(), entry);
                let refusal = invalid.of(key);
                self.refuse(&refusal);
                Err(refusal)
            }
            None => {
                self.refused.remove(key);
                self.insert(key, entry);
                Ok(())
            }
        }
    }

    /// The first claim that another object holds.
    fn contested(&self, key: &ObjectKey, entry: &Entry) -> Option<Invalid> {
        entry.claims().into_iter().find_map(|(claim, field)| {
            let holder = self.claims.get(&claim).filter(|holder| *holder != key)?;
            Some(Invalid::new(field, format_args!("{claim} is already that of {holder}")))
        })
    }

    fn insert(&mut self, key: &ObjectKey, entry: Entry) {
        self.remove(key);
        self.claims.extend(entry.claims().into_iter().map(|(claim, _)| (claim, key.clone())));
        self.entries.insert(key.clone(), entry);
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        for (claim, _) in entry.claims() {
            self.claims.remove(&claim);
        }
        Some(entry)
    }

    /// The last good version stays, unless its place was taken in the meantime by one with a better right.
    fn restore(&mut self, key: &ObjectKey, last_good: &mut BTreeMap<ObjectKey, Entry>) {
        if let Some(entry) = last_good.remove(key)
            && self.contested(key, &entry).is_none()
        {
            self.insert(key, entry);
        }
    }

    /// Ends, for each round but the last admits at least one.
    fn admit_waiting(&mut self) {
        loop {
            let before = self.waiting.len();
            for (key, entry) in mem::take(&mut self.waiting) {
                // If it still has to wait, it was reported when it came.
                let _ = self.admit(&key, entry);
            }
            if self.waiting.len() == before {
                return;
            }
        }
    }
}

// === impl Precedence ===

impl Precedence {
    fn of(entry: &Entry, before: Option<&Entry>) -> Self {
        let Some(before) = before.map(Entry::claims) else { return Self::Stranger };
        match entry.claims().iter().all(|claim| before.contains(claim)) {
            true => Self::Content,
            false => Self::Greedy,
        }
    }
}

#[cfg(test)]
mod tests;
