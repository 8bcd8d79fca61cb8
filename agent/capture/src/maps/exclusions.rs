//! The map `EXCLUSIONS`, typed.

use std::{collections::BTreeSet, fmt, io, net::IpAddr};

use abi::{ExclusionKey, name};
use aya::maps::{LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use model::{Cidr, Excluded, Exclusion, ExclusionList, Ports};
use nix::libc;

use super::{found, prefix};
use crate::{Error, exclusions::block_end};

pub struct ExclusionMap(LpmTrie<MapData, ExclusionKey, u8>);

// === impl ExclusionMap ===

impl ExclusionMap {
    pub(super) fn new(map: MapData) -> Result<Self, MapError> {
        Map::LpmTrie(map).try_into().map(Self)
    }

    /// Those of one namespace, in force or not: what is in force says its entry in `PODS`.
    pub fn of(&self, netns_cookie: u64) -> Result<BTreeSet<Exclusion>, Error> {
        let all = self.all()?.into_iter();
        Ok(all.filter(|(cookie, _)| *cookie == netns_cookie).map(|(_, exclusion)| exclusion).collect())
    }

    /// All, with the cookie of their namespace.
    pub fn all(&self) -> Result<BTreeSet<(u64, Exclusion)>, Error> {
        let mut all = BTreeSet::new();
        for key in self.0.keys() {
            let key = key.map_err(|source| Error::Map { op: "read", map: name::EXCLUSIONS, source })?;
            all.extend(read(&key));
        }
        Ok(all)
    }

    pub(super) fn count(&self) -> usize {
        self.0.keys().count()
    }

    pub(crate) fn add(&mut self, netns_cookie: u64, exclusion: Exclusion) -> Result<(), Error> {
        self.0.insert(&key(netns_cookie, exclusion), 1, 0).map_err(|source| {
            let op = match &source {
                MapError::SyscallError(e) if is_full(&e.io_error) => {
                    "add exclusions (those before stay in force; `millstream maps exclusions` shows who has how \
                     many) to the full"
                }
                _ => "write",
            };
            Error::Map { op, map: name::EXCLUSIONS, source }
        })
    }

    pub(crate) fn remove(&mut self, netns_cookie: u64, exclusion: Exclusion) -> Result<(), Error> {
        found(name::EXCLUSIONS, self.0.remove(&key(netns_cookie, exclusion))).map(drop)
    }
}

impl fmt::Debug for ExclusionMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExclusionMap").finish_non_exhaustive()
    }
}

/// A trie says `ENOSPC`, where other maps say `E2BIG`.
pub(super) fn is_full(e: &io::Error) -> bool {
    e.raw_os_error() == Some(libc::ENOSPC)
}

/// Of a range of ports that is one block, see [`crate::exclusions::entries`].
fn key(netns_cookie: u64, exclusion: Exclusion) -> Key<ExclusionKey> {
    let Exclusion { list, what } = exclusion;
    let list = to_abi(list);
    let (bits, key) = match what {
        Excluded::Cidr(cidr) => {
            let (octets, bits) = prefix(cidr);
            (bits, ExclusionKey::of_address(netns_cookie, list, octets))
        }
        Excluded::Ports(Ports { first, last }) => {
            (u16::BITS - (last - first).count_ones(), ExclusionKey::of_port(netns_cookie, list, first))
        }
    };
    Key::new(ExclusionKey::FIXED_BITS + bits, key)
}

/// `None` for what no agent of this version writes.
fn read(key: &Key<ExclusionKey>) -> Option<(u64, Exclusion)> {
    let bits = key.prefix_len().checked_sub(ExclusionKey::FIXED_BITS)?;
    let data = key.data();
    let list = list_of(data.list()?);
    let what = match data.family {
        0 => {
            let first = u16::from_be_bytes([data.value[0], data.value[1]]);
            let last = block_end(first, u16::BITS.checked_sub(bits)?);
            Excluded::Ports(Ports { first, last })
        }
        _ => Excluded::Cidr(Cidr::containing(IpAddr::from(data.value), u8::try_from(bits).ok()?)?),
    };
    Some((u64::from_ne_bytes(data.netns_cookie), Exclusion { list, what }))
}

pub(super) fn to_abi(list: ExclusionList) -> abi::ExclusionList {
    match list {
        ExclusionList::OutboundCidrs => abi::ExclusionList::OutboundCidrs,
        ExclusionList::OutboundPorts => abi::ExclusionList::OutboundPorts,
        ExclusionList::InboundCidrs => abi::ExclusionList::InboundCidrs,
        ExclusionList::InboundPorts => abi::ExclusionList::InboundPorts,
    }
}

pub fn list_of(list: abi::ExclusionList) -> ExclusionList {
    match list {
        abi::ExclusionList::OutboundCidrs => ExclusionList::OutboundCidrs,
        abi::ExclusionList::OutboundPorts => ExclusionList::OutboundPorts,
        abi::ExclusionList::InboundCidrs => ExclusionList::InboundCidrs,
        abi::ExclusionList::InboundPorts => ExclusionList::InboundPorts,
    }
}

#[cfg(test)]
mod tests;
