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

use model::Snapshot;

use crate::{
    enrolment::EnrolmentConfig,
    exclusions::ExclusionConfig,
    kind::ObjectKey,
    object::Object,
    refusal::{Invalid, Refusal},
};

mod claim;
mod entry;
mod namespaces;
mod nodes;
mod pods;
pub(crate) use self::pods::REDIRECTION;
mod policies;
mod services;
mod slices;
pub(crate) use self::slices::SERVICE_NAME;
mod snapshot;

use self::{claim::Claim, entry::Entry};

/// The objects that were taken, each in its last good version.
#[derive(Debug, Default)]
pub struct Index {
    config: IndexConfig,
    entries: BTreeMap<ObjectKey, Entry>,
    /// Who holds what; exactly the claims of `entries`.
    claims: HashMap<Claim, ObjectKey>,
    /// Sound in themselves, but another object holds one of their claims.
    waiting: BTreeMap<ObjectKey, Entry>,
}

#[derive(Clone, Debug, Default)]
pub struct IndexConfig {
    pub enrolment: EnrolmentConfig,
    pub exclusions: ExclusionConfig,
    /// Whether the annotation `millstream.dev/netns` of a pod is believed: it lets the author of a pod choose a path
    /// on the node.
    pub honour_netns_annotation: bool,
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
    /// `millstream.dev/when-agent-down` and `millstream.dev/existing-connections` are taken for `closed` and `keep`,
    /// those of `millstream.dev/exclude-…` for the last good ones, and a policy that makes no sense is taken to select
    /// all that it could.
    pub fn apply(&mut self, object: &Object) -> Result<(), Refusal> {
        let key = object.key();
        self.waiting.remove(&key);
        let entry = self.parse(&key, object, self.entries.get(&key))?;
        let objection = entry.objections().first().cloned();
        self.admit(&key, entry).map_err(|invalid| invalid.of(&key))?;
        self.admit_waiting();
        objection.map_or(Ok(()), |invalid| Err(invalid.of(&key)))
    }

    pub fn delete(&mut self, key: &ObjectKey) {
        self.waiting.remove(key);
        self.remove(key);
        self.admit_waiting();
    }

    /// Takes `objects` for all there is: what is not among them goes.
    ///
    /// Where two objects claim the same, the one that held it before keeps it; among new ones the first wins.
    /// Returns everything that is wrong at present, not only what is new.
    pub fn reset(&mut self, objects: &[Object]) -> Vec<Refusal> {
        let mut last_good = mem::take(&mut self.entries);
        self.claims.clear();
        self.waiting.clear();

        let mut refusals = Vec::new();
        let mut changed = Vec::new();
        let mut seen = BTreeSet::new();
        for object in objects {
            let key = object.key();
            if !seen.insert(key.clone()) {
                refusals.push(Invalid::new("metadata.name", "the same object was given before").of(&key));
                continue;
            }
            match self.parse(&key, object, last_good.get(&key)) {
                Ok(entry) if last_good.get(&key) != Some(&entry) => changed.push((key, entry)),
                Ok(_) => self.restore(&key, &mut last_good),
                Err(refusal) => {
                    refusals.push(refusal);
                    self.restore(&key, &mut last_good);
                }
            }
        }

        changed.sort_by_key(|(key, entry)| Precedence::of(entry, last_good.get(key)));
        let mut contested = Vec::new();
        for (key, entry) in changed {
            if let Err(invalid) = self.admit(&key, entry) {
                refusals.push(invalid.of(&key));
                contested.push(key);
            }
        }
        for key in contested {
            self.restore(&key, &mut last_good);
        }

        for (key, entry) in &self.entries {
            refusals.extend(entry.objections().iter().map(|objection| objection.clone().of(key)));
        }
        refusals
    }

    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether what it is about was put aside while its object was taken.
    pub(crate) fn is_objection(&self, refusal: &Refusal) -> bool {
        let objections = self.entries.get(&refusal.object).map(Entry::objections).unwrap_or_default();
        objections.iter().any(|o| o.field == refusal.field && o.reason == refusal.reason)
    }

    pub fn snapshot(&self, version: u64) -> Arc<Snapshot> {
        snapshot::join(&self.entries, &self.config, version)
    }

    fn parse(&self, key: &ObjectKey, object: &Object, before: Option<&Entry>) -> Result<Entry, Refusal> {
        Entry::parse(key, object, before, &self.config).map_err(|invalid| invalid.of(key))
    }

    /// Puts `entry` in the place of its predecessor; or, if another object holds a claim of it, lets it wait.
    fn admit(&mut self, key: &ObjectKey, entry: Entry) -> Result<(), Invalid> {
        match self.contested(key, &entry) {
            Some(invalid) => {
                self.waiting.insert(key.clone(), entry);
                Err(invalid)
            }
            None => {
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

    fn remove(&mut self, key: &ObjectKey) {
        if let Some(entry) = self.entries.remove(key) {
            for (claim, _) in entry.claims() {
                self.claims.remove(&claim);
            }
        }
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
