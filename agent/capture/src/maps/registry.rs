//! The map `REGISTRY`, typed.

use std::{
    collections::HashSet,
    fmt,
    net::{IpAddr, SocketAddr},
};

use abi::{RegistryKey, limit, name};
use aya::maps::{LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use model::{Cidr, Registered};

use super::{exclusions::is_full, found, prefix};
use crate::Error;

pub struct RegistryMap {
    map: LpmTrie<MapData, RegistryKey, u8>,
    /// What is in it, once this process has looked: nobody else writes meanwhile.
    known: Option<HashSet<Registered>>,
}

// === impl RegistryMap ===

impl RegistryMap {
    pub(super) fn new(map: MapData) -> Result<Self, MapError> {
        Ok(Self { map: Map::LpmTrie(map).try_into()?, known: None })
    }

    /// From now on these and nothing else; none: nobody is refused for want of an entry. If it fails, nobody is either.
    pub(crate) fn set(&mut self, wanted: Option<HashSet<Registered>>) -> Result<(), Error> {
        let result = self.try_set(wanted);
        if result.is_err() {
            self.known = None;
            self.remove(&complete())?;
        }
        result
    }

    fn try_set(&mut self, wanted: Option<HashSet<Registered>>) -> Result<(), Error> {
        let known = match self.known.take() {
            Some(known) => known,
            None => self.read()?,
        };
        let is_wanted = wanted.is_some();
        if !is_wanted {
            self.remove(&complete())?;
        }
        let registered = wanted.unwrap_or_default();
        for one in known.difference(&registered) {
            self.remove(&key(*one))?;
        }
        for one in registered.difference(&known) {
            self.add(&key(*one))?;
        }
        if is_wanted {
            self.add(&complete())?;
        }
        self.known = Some(registered);
        Ok(())
    }

    /// As the programs ask.
    pub fn is_unregistered(&self, destination: SocketAddr) -> bool {
        let has = |key| self.map.get(&key, 0).is_ok();
        has(complete())
            && !has(key(Registered::Addresses(destination.ip().into())))
            && !has(key(Registered::Port(destination.port())))
    }

    pub fn count(&self) -> usize {
        self.map.keys().count()
    }

    fn read(&self) -> Result<HashSet<Registered>, Error> {
        let mut all = HashSet::new();
        for key in self.map.keys() {
            let key = key.map_err(|source| Error::Map { op: "read", map: name::REGISTRY, source })?;
            all.extend(registered(&key));
        }
        Ok(all)
    }

    fn add(&mut self, key: &Key<RegistryKey>) -> Result<(), Error> {
        self.map.insert(key, 1, 0).map_err(|source| match &source {
            MapError::SyscallError(e) if is_full(&e.io_error) => {
                Error::MapFull { map: name::REGISTRY, room: limit::REGISTRY }
            }
            _ => Error::Map { op: "write", map: name::REGISTRY, source },
        })
    }

    fn remove(&mut self, key: &Key<RegistryKey>) -> Result<(), Error> {
        found(name::REGISTRY, self.map.remove(key)).map(drop)
    }
}

impl fmt::Debug for RegistryMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryMap").finish_non_exhaustive()
    }
}

fn complete() -> Key<RegistryKey> {
    whole(RegistryKey::COMPLETE)
}

fn whole(key: RegistryKey) -> Key<RegistryKey> {
    Key::new(RegistryKey::FIXED_BITS + RegistryKey::VALUE_BITS, key)
}

fn key(registered: Registered) -> Key<RegistryKey> {
    match registered {
        Registered::Addresses(network) => {
            let (octets, bits) = prefix(network);
            Key::new(RegistryKey::FIXED_BITS + bits, RegistryKey::of_address(octets))
        }
        Registered::Port(port) => whole(RegistryKey::of_port(port)),
    }
}

/// `None` for what says that the map is complete, and for what no agent of this version writes.
fn registered(key: &Key<RegistryKey>) -> Option<Registered> {
    let bits = key.prefix_len().checked_sub(RegistryKey::FIXED_BITS)?;
    let RegistryKey { kind, value } = key.data();
    match kind {
        0 => Some(Registered::Port(u16::from_be_bytes([value[0], value[1]]))),
        4 | 6 => Cidr::containing(IpAddr::from(value), u8::try_from(bits).ok()?).map(Registered::Addresses),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
