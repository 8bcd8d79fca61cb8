//! Whose connections from the node are probes, and which are there.

use std::{
    collections::HashSet,
    fmt,
    net::{IpAddr, SocketAddr},
};

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

    /// Their connections, as the pods see them: who dialled, and where.
    pub(crate) fn connections(&self) -> Result<HashSet<(SocketAddr, SocketAddr)>, Error> {
        let end = |address: [u8; 16], port| SocketAddr::new(IpAddr::from(address).to_canonical(), port);
        let ends = |key: ProbeKey| (end(key.client, key.client_port), end(key.server, key.server_port));
        let read: Result<_, MapError> = self.probes.keys().map(|key| key.map(ends)).collect();
        read.map_err(|source| Error::Map { op: "read", map: name::PROBES, source })
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
