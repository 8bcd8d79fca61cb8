//! Whose connections from the node are probes, and which are there.

use std::fmt;

use abi::{ProbeKey, Prober, ProberKey, limit, name};
use aya::maps::{HashMap, Map, MapData, MapError};

use super::{found, written};
use crate::Error;

/// The maps `PROBERS` and `PROBES`.
pub struct ProbeMaps {
    probers: HashMap<MapData, ProberKey, u8>,
    probes: HashMap<MapData, ProbeKey, u8>,
}

// === impl ProbeMaps ===

impl ProbeMaps {
    pub(super) fn new(probers: MapData, probes: MapData) -> Result<Self, MapError> {
        Ok(Self { probers: Map::HashMap(probers).try_into()?, probes: Map::LruHashMap(probes).try_into()? })
    }

    /// From now on these, and nobody else.
    pub(crate) fn set_probers(&mut self, probers: &[Prober]) -> Result<(), Error> {
        let wanted: Vec<ProberKey> = probers.iter().map(|prober| prober.key()).collect();
        let known: Vec<ProberKey> = self.probers.keys().flatten().collect();
        for key in known.iter().filter(|key| !wanted.contains(key)) {
            found(name::PROBERS, self.probers.remove(key))?;
        }
        for key in wanted.iter().filter(|key| !known.contains(key)) {
            written(name::PROBERS, limit::PROBERS, self.probers.insert(key, 1, 0))?;
        }
        Ok(())
    }

    /// How many are known.
    pub fn probers(&self) -> usize {
        self.probers.keys().count()
    }

    /// How many connections of theirs there are.
    pub fn open(&self) -> usize {
        self.probes.keys().count()
    }
}

impl fmt::Debug for ProbeMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeMaps").finish_non_exhaustive()
    }
}
