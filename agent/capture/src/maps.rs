//! The pinned maps, typed. The agent writes them; the command line reads them, also when no agent runs.

use std::{fmt, net::IpAddr, os::fd::BorrowedFd};

use abi::{AddressKey, AgentEntry, Counter, ListenerKey, PodEntry, RawListenerKey, Slot, limit, name};
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, SockHash};
use model::{Cidr, ExclusionList, OutboundPolicy, WhenAgentDown};

use crate::{Error, Pins, desired::Terms};

mod exclusions;
mod probes;
mod registry;
mod stops;

pub use self::{
    exclusions::{ExclusionMap, list_of},
    probes::ProbeMaps,
    registry::RegistryMap,
    stops::{StopMap, Stops},
};

pub struct Maps {
    pods: HashMap<MapData, u64, PodEntry>,
    addresses: HashMap<MapData, AddressKey, u8>,
    pub exclusions: ExclusionMap,
    pub registry: RegistryMap,
    listeners: SockHash<MapData, RawListenerKey>,
    agents: HashMap<MapData, u64, AgentEntry>,
    counters: PerCpuArray<MapData, u64>,
    pub probes: ProbeMaps,
    pub stops: StopMap,
}

// === impl Maps ===

impl Maps {
    /// Opens the maps of a node by their pins. Fails where nothing was ever pinned, or by an agent with
    /// another layout.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        let open = |map: &'static str| {
            MapData::from_pin(pins.map(map)).map_err(|source| Error::Map { op: "open", map, source })
        };
        let typed = |map, source| Error::Map { op: "read the type of", map, source };
        Ok(Self {
            pods: Map::HashMap(open(name::PODS)?).try_into().map_err(|e| typed(name::PODS, e))?,
            addresses: Map::HashMap(open(name::ADDRESSES)?)
                .try_into()
                .map_err(|e| typed(name::ADDRESSES, e))?,
            exclusions: ExclusionMap::new(open(name::EXCLUSIONS)?).map_err(|e| typed(name::EXCLUSIONS, e))?,
            registry: RegistryMap::new(open(name::REGISTRY)?).map_err(|e| typed(name::REGISTRY, e))?,
            listeners: Map::SockHash(open(name::LISTENERS)?)
                .try_into()
                .map_err(|e| typed(name::LISTENERS, e))?,
            agents: Map::HashMap(open(name::AGENTS)?).try_into().map_err(|e| typed(name::AGENTS, e))?,
            counters: Map::PerCpuArray(open(name::COUNTERS)?)
                .try_into()
                .map_err(|e| typed(name::COUNTERS, e))?,
            probes: ProbeMaps::new(open(name::PROBERS)?, open(name::PROBES)?)
                .map_err(|e| typed(name::PROBES, e))?,
            stops: StopMap::new(open(name::STOPS)?).map_err(|e| typed(name::STOPS, e))?,
        })
    }

    pub fn pod(&self, netns_cookie: u64) -> Result<Option<Terms>, Error> {
        found(name::PODS, self.pods.get(&netns_cookie, 0)).map(|entry| entry.map(terms))
    }

    /// All captured namespaces, by cookie.
    pub fn pods(&self) -> Result<Vec<(u64, Terms)>, Error> {
        let mut pods = self
            .pods
            .iter()
            .map(|entry| entry.map(|(cookie, entry)| (cookie, terms(entry))))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| Error::Map { op: "read", map: name::PODS, source })?;
        pods.sort_by_key(|(cookie, _)| *cookie);
        Ok(pods)
    }

    pub(crate) fn set_pod(&mut self, netns_cookie: u64, terms: &Terms) -> Result<(), Error> {
        written(name::PODS, limit::PODS, self.pods.insert(netns_cookie, pod_entry(terms), 0))
    }

    pub(crate) fn remove_pod(&mut self, netns_cookie: u64) -> Result<(), Error> {
        found(name::PODS, self.pods.remove(&netns_cookie)).map(drop)
    }

    pub fn addresses(&self, netns_cookie: u64) -> Result<Vec<IpAddr>, Error> {
        let mut addresses = Vec::new();
        for key in self.addresses.keys() {
            let key = key.map_err(|source| Error::Map { op: "read", map: name::ADDRESSES, source })?;
            if key.netns_cookie == netns_cookie {
                addresses.push(IpAddr::from(key.address).to_canonical());
            }
        }
        addresses.sort();
        Ok(addresses)
    }

    pub(crate) fn add_address(&mut self, netns_cookie: u64, address: IpAddr) -> Result<(), Error> {
        let key = address_key(netns_cookie, address);
        written(name::ADDRESSES, limit::ADDRESSES, self.addresses.insert(key, 1, 0))
    }

    pub(crate) fn remove_address(&mut self, netns_cookie: u64, address: IpAddr) -> Result<(), Error> {
        found(name::ADDRESSES, self.addresses.remove(&address_key(netns_cookie, address))).map(drop)
    }

    /// The listeners that are open. A slot whose socket has closed is not there.
    pub fn listeners(&self) -> Result<Vec<(u64, Slot)>, Error> {
        let mut listeners = Vec::new();
        for key in self.listeners.keys() {
            let key = key.map_err(|source| Error::Map { op: "read", map: name::LISTENERS, source })?;
            if let Some(slot) = key.slot() {
                listeners.push((key.netns_cookie, slot));
            }
        }
        listeners.sort();
        Ok(listeners)
    }

    pub(crate) fn set_listener(
        &mut self,
        netns_cookie: u64,
        slot: Slot,
        listener: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        let key = RawListenerKey::from(ListenerKey { netns_cookie, slot, reserved: 0 });
        written(name::LISTENERS, limit::LISTENERS, self.listeners.insert(key, listener, 0))
    }

    pub(crate) fn remove_listener(&mut self, netns_cookie: u64, slot: Slot) -> Result<(), Error> {
        let key = RawListenerKey::from(ListenerKey { netns_cookie, slot, reserved: 0 });
        found(name::LISTENERS, self.listeners.remove(&key)).map(drop)
    }

    /// The cgroups that agents of this node run in.
    pub(crate) fn agents(&self) -> Result<Vec<u64>, Error> {
        self.agents.keys().collect::<Result<_, _>>().map_err(|source| Error::Map {
            op: "read",
            map: name::AGENTS,
            source,
        })
    }

    pub(crate) fn add_agent(&mut self, cgroup_id: u64) -> Result<(), Error> {
        self.agents.insert(cgroup_id, AgentEntry { present: 1 }, 0).map_err(|source| Error::Map {
            op: "write",
            map: name::AGENTS,
            source,
        })
    }

    /// What the programs counted, over all CPUs, since the maps were made.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>, Error> {
        Counter::ALL
            .into_iter()
            .map(|counter| {
                let per_cpu = self.counters.get(&(counter as u32), 0);
                let per_cpu =
                    per_cpu.map_err(|source| Error::Map { op: "read", map: name::COUNTERS, source })?;
                Ok((counter, per_cpu.iter().sum()))
            })
            .collect()
    }

    /// How full each map is: name, entries, room.
    pub fn fill(&self) -> Vec<(&'static str, usize, u32)> {
        vec![
            (name::PODS, self.pods.keys().count(), limit::PODS),
            (name::ADDRESSES, self.addresses.keys().count(), limit::ADDRESSES),
            (name::EXCLUSIONS, self.exclusions.count(), limit::EXCLUSIONS),
            (name::REGISTRY, self.registry.count(), limit::REGISTRY),
            (name::LISTENERS, self.listeners.keys().count(), limit::LISTENERS),
            (name::AGENTS, self.agents.keys().count(), limit::AGENTS),
            (name::PROBERS, self.probes.probers(), limit::PROBERS),
            (name::PROBES, self.probes.open(), limit::PROBES),
        ]
    }
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

fn terms(entry: PodEntry) -> Terms {
    let when_agent_down =
        if entry.open_when_agent_down == 1 { WhenAgentDown::Open } else { WhenAgentDown::Closed };
    let has = |list: &ExclusionList| entry.has(exclusions::to_abi(*list));
    let outbound_policy = match entry.registry_only {
        1 => OutboundPolicy::RegistryOnly,
        _ => OutboundPolicy::AllowAny,
    };
    Terms {
        when_agent_down,
        captures_dns: entry.captures_dns == 1,
        outbound_policy,
        excludes: ExclusionList::ALL.into_iter().filter(has).collect(),
    }
}

/// As the programs read it.
pub fn pod_entry(terms: &Terms) -> PodEntry {
    let Terms { when_agent_down, captures_dns, outbound_policy, excludes } = terms;
    PodEntry {
        open_when_agent_down: u8::from(*when_agent_down == WhenAgentDown::Open),
        excludes: excludes.iter().fold(0, |bits, list| bits | exclusions::to_abi(*list).bit()),
        captures_dns: u8::from(*captures_dns),
        registry_only: u8::from(*outbound_policy == OutboundPolicy::RegistryOnly),
        reserved: [0; 4],
    }
}

fn address_key(netns_cookie: u64, address: IpAddr) -> AddressKey {
    AddressKey { netns_cookie, address: address_octets(address) }
}

fn address_octets(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(v4) => abi::mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A network as tries hold it: its octets, and how many bits of them count.
fn prefix(network: Cidr) -> ([u8; 16], u32) {
    let before = if network.address().is_ipv4() { 96 } else { 0 };
    (address_octets(network.address()), before + u32::from(network.length()))
}

fn written(map: &'static str, room: u32, result: Result<(), MapError>) -> Result<(), Error> {
    result.map_err(|source| match &source {
        MapError::SyscallError(e) if e.io_error.raw_os_error() == Some(nix::libc::E2BIG) => {
            Error::MapFull { map, room }
        }
        _ => Error::Map { op: "write", map, source },
    })
}

/// A missing key is an answer, not an error.
fn found<T>(map: &'static str, result: Result<T, MapError>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(nix::libc::ENOENT) => Ok(None),
        Err(source) => Err(Error::Map { op: "access", map, source }),
    }
}
