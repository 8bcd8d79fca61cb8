//! Which endpoint a client of a service with `sessionAffinity: ClientIP` was given last. Pure: the clock is an
//! argument.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::{Duration, Instant},
};

use model::{EndpointAddr, ObjectName};

/// One client of one port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) client: IpAddr,
    pub(crate) service: ObjectName,
    pub(crate) port: u16,
}

#[derive(Debug)]
pub(crate) struct Affinities {
    entries: HashMap<Key, Entry>,
    /// The keys in the order of their last use.
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    capacity: usize,
}

#[derive(Debug)]
struct Entry {
    endpoint: EndpointAddr,
    used: Instant,
    /// Its place in `by_use`.
    place: u64,
}

// === impl Affinities ===

impl Affinities {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, capacity }
    }

    /// The endpoint that this client had, unless it has been silent for longer than `timeout`.
    pub(crate) fn recall(&self, key: &Key, timeout: Duration, now: Instant) -> Option<EndpointAddr> {
        let entry = self.entries.get(key)?;
        (now.saturating_duration_since(entry.used) < timeout).then_some(entry.endpoint)
    }

    /// Notes what this client was given now.
    pub(crate) fn remember(&mut self, key: Key, endpoint: EndpointAddr, now: Instant) {
        if self.capacity == 0 {
            return;
        }
        self.uses += 1;
        let entry = Entry { endpoint, used: now, place: self.uses };
        self.by_use.insert(entry.place, key.clone());
        if let Some(former) = self.entries.insert(key, entry) {
            self.by_use.remove(&former.place);
        }
        if self.entries.len() > self.capacity
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
