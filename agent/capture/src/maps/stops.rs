//! What was dropped or refused, pod by pod.

use std::{collections::BTreeMap, fmt};

use abi::{Counter, StopKey, name};
use aya::maps::{Map, MapData, MapError, PerCpuHashMap};

use super::found;
use crate::Error;

/// The map `STOPS`.
pub struct StopMap(PerCpuHashMap<MapData, StopKey, u64>);

/// How often, by outcome, in the order of [`Counter::ALL`].
pub type Stops = Vec<(Counter, u64)>;

// === impl StopMap ===

impl StopMap {
    pub(super) fn new(map: MapData) -> Result<Self, MapError> {
        Map::PerCpuLruHashMap(map).try_into().map(Self)
    }

    /// By the cookie of the namespace.
    pub fn all(&self) -> Result<BTreeMap<u64, Stops>, Error> {
        let mut pods: BTreeMap<u64, Stops> = BTreeMap::new();
        for entry in self.0.iter() {
            let (key, per_cpu) = entry.map_err(failed("read"))?;
            if let Some(counter) = Counter::ALL.get(key.counter as usize) {
                pods.entry(key.netns_cookie).or_default().push((*counter, per_cpu.iter().sum()));
            }
        }
        for stops in pods.values_mut() {
            stops.sort_by_key(|(counter, _)| *counter as u32);
        }
        Ok(pods)
    }

    pub(crate) fn remove(&mut self, netns_cookie: u64) -> Result<(), Error> {
        let keys: Vec<StopKey> =
            self.0.keys().flatten().filter(|key| key.netns_cookie == netns_cookie).collect();
        keys.iter().try_for_each(|key| found(name::STOPS, self.0.remove(key)).map(drop))
    }
}

impl fmt::Debug for StopMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopMap").finish_non_exhaustive()
    }
}

fn failed(op: &'static str) -> impl Fn(MapError) -> Error {
    move |source| Error::Map { op, map: name::STOPS, source }
}
