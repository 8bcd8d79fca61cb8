//! What the watches have told so far. PURE.

use std::{
    collections::{BTreeMap, btree_map},
    mem,
    sync::Arc,
};

use jiff::Timestamp;
use kube::api::ApiResource;
use model::Snapshot;

use super::{
    event::{Change, Topic},
    of::Of,
    seen::SeenEntries,
};
use crate::{
    entries::Entries,
    index::{Index, Parsed},
    kind::Kind,
    source::{InForce, SourceRefusal, SourceReport, WatchTrouble},
};

pub(super) struct View {
    index: Index,
    watches: BTreeMap<Topic, Watched>,
    /// Whether all that there were at the start have stood once.
    is_synced: bool,
    /// For whoever writes ServiceEntries.
    seen: Option<SeenEntries>,
}

#[derive(Debug)]
struct Watched {
    /// Of a list that is not complete.
    incoming: Vec<Parsed>,
    /// Since when it does not stand, and why; `None` while it does.
    trouble: Option<(Timestamp, Option<String>)>,
    /// Whether it has stood before.
    synced: bool,
}

// === impl View ===

impl View {
    pub(super) fn new(of: Of, index: Index, now: Timestamp) -> Self {
        let watches = of.always().iter().map(|topic| (*topic, Watched::begun(now))).collect();
        let seen = (of == Of::Entries).then(SeenEntries::default);
        Self { index, watches, is_synced: false, seen }
    }

    /// Before a kind of policies that came later is known, it is taken for the worst. Hosts that are not known yet are
    /// not there.
    pub(super) fn begin(&mut self, kind: Kind, now: Timestamp) {
        if let btree_map::Entry::Vacant(entry) = self.watches.entry(Topic::Objects(kind)) {
            entry.insert(Watched::begun(now));
            if let Kind::Policy(policy) = kind
                && self.is_synced
            {
                self.index.assume(policy);
            }
        }
    }

    /// There is no such kind any more.
    pub(super) fn end(&mut self, kind: Kind) {
        self.watches.remove(&Topic::Objects(kind));
        self.seen.iter_mut().for_each(|seen| seen.end(kind));
        self.index.reset_kind(kind, Vec::new());
    }

    pub(super) fn on(&mut self, topic: Topic, change: Change, now: Timestamp) {
        let Some(watched) = self.watches.get_mut(&topic) else { return };
        if let Some(seen) = &mut self.seen {
            seen.on(topic, &change);
        }
        match change {
            Change::Listing => watched.incoming.clear(),
            Change::Page(objects) => {
                watched.incoming.extend(objects.iter().map(|object| self.index.parse(object)));
            }
            Change::Listed => {
                let incoming = mem::take(&mut watched.incoming);
                if let Topic::Objects(kind) = topic {
                    self.index.reset_kind(kind, incoming);
                }
            }
            Change::Standing | Change::Served(_) => {
                watched.trouble = None;
                watched.synced = true;
                self.is_synced |= self.watches.iter().all(|(topic, w)| w.synced || !topic.is_awaited());
            }
            Change::Applied(object) => {
                // What is refused is kept by the index, and reported.
                let _refusal = self.index.apply(&object);
            }
            Change::Deleted(key) => self.index.delete(&key),
            Change::Failed(error) => {
                let (_, known) = watched.trouble.get_or_insert((now, None));
                *known = Some(error);
            }
        }
    }

    /// Whether every watch has stood once: before that nothing may be concluded from what is missing.
    pub(super) fn is_synced(&self) -> bool {
        self.is_synced
    }

    pub(super) fn snapshot(&self, version: u64) -> Arc<Snapshot> {
        self.index.snapshot(version)
    }

    /// `None`: this is not what is followed, or not everything has stood once.
    pub(super) fn entries(&self, resource: Option<ApiResource>) -> Option<Entries> {
        let seen = self.seen.as_ref().filter(|_| self.is_synced)?;
        let is_known = |watched: &Watched| watched.synced;
        // Of a kind that has come, what is there must be known before anything is given.
        let watched = self.watches.get(&Topic::Objects(Kind::ServiceEntry));
        watched.is_none_or(is_known).then(|| seen.join(self.index.asked(), resource))
    }

    pub(super) fn report(&self) -> SourceReport {
        let trouble = |(topic, watched): (&Topic, &Watched)| {
            let (since, error) = watched.trouble.clone()?;
            let in_force = match (watched.synced, self.is_synced) {
                (true, _) => InForce::LastKnown,
                (false, true) => match topic {
                    Topic::Objects(Kind::ServiceEntry | Kind::ServiceCidr) => InForce::Without,
                    Topic::Objects(_) | Topic::Kinds => InForce::TheWorst,
                },
                (false, false) => InForce::Nothing,
            };
            Some(WatchTrouble { watch: topic.to_string(), since, error, in_force })
        };
        SourceReport {
            refusals: self.index.refusals().into_iter().map(SourceRefusal::from).collect(),
            troubles: self.watches.iter().filter_map(trouble).collect(),
        }
    }
}

// === impl Watched ===

impl Watched {
    fn begun(now: Timestamp) -> Self {
        Self { incoming: Vec::new(), trouble: Some((now, None)), synced: false }
    }
}

#[cfg(test)]
mod tests;
