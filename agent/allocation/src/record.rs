//! What is written down, and how it is brought in line with what is asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use jiff::Timestamp;
use model::ObjectName;
use serde::{Deserialize, Serialize};

use crate::{AllocationConfig, Demand, Holder, Problem, hash, slots::Free};

mod text;

/// So many hosts that are gone are remembered beyond their quarantine, in case they come back.
const GONE_MAX: usize = 65_536;

/// The IPv4 address of each host that has or had one. What is written here decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "text::Written", into = "text::Written")]
pub struct Record {
    hosts: BTreeMap<ObjectName, Recorded>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    pub ipv4: Ipv4Addr,
    /// Since when there is no such host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed: Option<Timestamp>,
    /// What it had before somebody else claimed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outranked: Option<Ipv4Addr>,
}

/// A record in line with a demand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Whoever wants to answer by it must have written it down before.
    pub record: Record,
    /// The addresses of each host that was asked for and that has some.
    pub addresses: BTreeMap<ObjectName, Vec<IpAddr>>,
    pub problems: Vec<Problem>,
}

// === impl Record ===

impl Record {
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// In name order.
    pub fn hosts(&self) -> impl Iterator<Item = (&ObjectName, &Recorded)> {
        self.hosts.iter()
    }

    /// What is written down elsewhere decides: who had one of these addresses here has none any more. Of two hosts that are
    /// written down with the same one, only the first has it.
    pub fn adopt(&mut self, written: impl IntoIterator<Item = (ObjectName, Ipv4Addr)>) {
        let mut holders: BTreeMap<Ipv4Addr, ObjectName> = BTreeMap::new();
        for (host, ipv4) in written {
            holders.entry(ipv4).or_insert(host);
        }
        let is_held = |host: &ObjectName, recorded: &Recorded| {
            holders.get(&recorded.ipv4).is_some_and(|holder| holder != host)
        };
        self.hosts.retain(|host, recorded| !is_held(host, recorded));
        for (ipv4, host) in holders {
            let recorded = Recorded { ipv4, freed: None, outranked: None };
            let known = self.hosts.entry(host).or_insert_with(|| recorded.clone());
            if known.ipv4 != ipv4 {
                *known = recorded;
            }
        }
    }

    /// Takes along what another record has of hosts that are gone, where this one says nothing else.
    pub fn adopt_freed(&mut self, other: &Self) {
        let own: BTreeSet<Ipv4Addr> = self.hosts.values().map(|recorded| recorded.ipv4).collect();
        for (host, recorded) in other.hosts.iter().filter(|(_, recorded)| recorded.freed.is_some()) {
            if !own.contains(&recorded.ipv4) && !self.hosts.contains_key(host) {
                self.hosts.insert(host.clone(), recorded.clone());
            }
        }
    }

    /// Forgets the hosts that are there and of which this is not true.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&ObjectName) -> bool) {
        self.hosts.retain(|host, recorded| recorded.freed.is_some() || is_kept(host));
    }

    /// Of the hosts that are gone, those whose quarantine is not over: at most `most`, the last that went.
    #[must_use]
    pub fn in_quarantine(&self, quarantine: Duration, now: Timestamp, most: usize) -> Self {
        let gone = self.hosts.iter().filter_map(|(host, recorded)| Some((recorded.freed?, host, recorded)));
        let mut gone: Vec<_> = gone.filter(|(freed, ..)| !is_over(*freed, quarantine, now)).collect();
        gone.sort_unstable_by(|a, b| (b.0, a.1).cmp(&(a.0, b.1)));
        gone.truncate(most);
        Self { hosts: gone.into_iter().map(|(_, host, recorded)| (host.clone(), recorded.clone())).collect() }
    }

    /// Whoever asks the same of the same record gets the same, and asked again it changes nothing.
    pub fn reconcile(&self, demand: &Demand, config: &AllocationConfig, now: Timestamp) -> Reconciled {
        let mut hosts = self.hosts.clone();
        let mut wanted: BTreeMap<&ObjectName, Option<Ipv4Addr>> =
            demand.hosts.iter().filter(|host| !hosts.contains_key(*host)).map(|host| (host, None)).collect();
        for (host, recorded) in &mut hosts {
            match demand.hosts.get(host) {
                Some(host) => {
                    recorded.freed = None;
                    let holder = demand.taken.holder(recorded.ipv4.into(), config.ranges.ipv4());
                    if holder.is_some() {
                        wanted.insert(host, Some(recorded.ipv4));
                    }
                }
                None if demand.is_complete => {
                    recorded.freed.get_or_insert(now);
                }
                None => {}
            }
        }
        hosts.retain(|host, _| !wanted.contains_key(host));

        let mut problems = Vec::new();
        give(&mut hosts, &wanted, demand, config, now, &mut problems);
        forget(&mut hosts, config.quarantine, now);
        let mut reconciled = Reconciled { record: Self { hosts }, addresses: BTreeMap::new(), problems };
        reconciled.add_addresses(demand, config);
        reconciled.add_overlaps(demand, config);
        reconciled
    }
}

/// What is new gets what its hash proposes, or the next that is free. When none is, those whose quarantine is over give
/// way, first who is gone for longest.
fn give(
    hosts: &mut BTreeMap<ObjectName, Recorded>,
    wanted: &BTreeMap<&ObjectName, Option<Ipv4Addr>>,
    demand: &Demand,
    config: &AllocationConfig,
    now: Timestamp,
    problems: &mut Vec<Problem>,
) {
    if wanted.is_empty() {
        return;
    }
    let (ranges, range) = (&config.ranges, config.ranges.ipv4());
    let networks = demand.taken.networks_within(range).filter_map(|network| ranges.slots_of(network));
    let mut free = Free::new(ranges.slots(), networks);
    let taken = demand.taken.addresses.keys().filter_map(|ip| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    });
    for ip in taken.chain(hosts.values().map(|recorded| recorded.ipv4)) {
        if let Some(slot) = ranges.slot_of(ip) {
            free.take(slot);
        }
    }
    // The last of them gives way first.
    let mut gone: Option<Vec<(Timestamp, ObjectName)>> = None;
    let mut refused: Vec<&ObjectName> = Vec::new();
    for (host, outranked) in wanted {
        let proposed = hash::fnv1a(host) % ranges.slots();
        let ipv4 = match free.first_from(proposed) {
            Some(slot) => {
                free.take(slot);
                ranges.ipv4_at(slot)
            }
            None => {
                let is_of_use = |ip: Ipv4Addr| {
                    ranges.slot_of(ip).is_some() && demand.taken.holder(ip.into(), range).is_none()
                };
                let gone = gone.get_or_insert_with(|| over(hosts, config.quarantine, now, is_of_use));
                let Some(recorded) = gone.pop().and_then(|(_, gone)| hosts.remove(&gone)) else {
                    refused.push(host);
                    continue;
                };
                recorded.ipv4
            }
        };
        hosts.insert((*host).clone(), Recorded { ipv4, freed: None, outranked: *outranked });
    }
    if let Some((host, others)) = refused.split_first() {
        problems.push(Problem::Exhausted { range, host: (*host).clone(), others: others.len() });
    }
}

/// Those whose quarantine is over, the newest first.
fn over(
    hosts: &BTreeMap<ObjectName, Recorded>,
    quarantine: Duration,
    now: Timestamp,
    is_of_use: impl Fn(Ipv4Addr) -> bool,
) -> Vec<(Timestamp, ObjectName)> {
    let gone =
        hosts.iter().filter(|(_, recorded)| is_of_use(recorded.ipv4)).filter_map(|(host, recorded)| {
            recorded.freed.filter(|freed| is_over(*freed, quarantine, now)).map(|freed| (freed, host.clone()))
        });
    let mut gone: Vec<_> = gone.collect();
    gone.sort_unstable_by(|a, b| b.cmp(a));
    gone
}

fn is_over(freed: Timestamp, quarantine: Duration, now: Timestamp) -> bool {
    let gone = u64::try_from(now.duration_since(freed).as_secs());
    gone.is_ok_and(|seconds| quarantine.as_secs() <= seconds)
}

/// A record does not grow for ever.
fn forget(hosts: &mut BTreeMap<ObjectName, Recorded>, quarantine: Duration, now: Timestamp) {
    let mut gone = over(hosts, quarantine, now, |_| true);
    while GONE_MAX < gone.len() {
        if let Some((_, host)) = gone.pop() {
            hosts.remove(&host);
        }
    }
}

// === impl Reconciled ===

impl Reconciled {
    /// For who could not write it down: only what `known` says as well.
    #[must_use]
    pub fn only(mut self, known: &Record) -> Self {
        let ipv4 = |record: &Record, host: &ObjectName| record.hosts.get(host).map(|recorded| recorded.ipv4);
        // Who has none in either has what no record says: the one of IPv6.
        self.addresses.retain(|host, _| ipv4(known, host) == ipv4(&self.record, host));
        self.record = known.clone();
        self
    }

    fn add_addresses(&mut self, demand: &Demand, config: &AllocationConfig) {
        let Self { record, addresses, problems } = self;
        for host in &demand.hosts {
            let recorded = record.hosts.get(host);
            // Where the range has none left, the other family is none the worse for it.
            let mut own: Vec<IpAddr> = recorded.iter().map(|recorded| recorded.ipv4.into()).collect();
            let ipv6 = config.ranges.ipv6_of(host);
            match demand.taken.holder(ipv6, config.ranges.ipv6()) {
                None => own.push(ipv6),
                Some(holder) => problems.push(Problem::Ipv6Taken {
                    host: host.clone(),
                    address: ipv6,
                    holder: holder.to_owned(),
                }),
            }
            if let Some(address) = recorded.and_then(|recorded| recorded.outranked)
                && let Some(holder) = demand.taken.holder(address.into(), config.ranges.ipv4())
            {
                let holder = holder.to_owned();
                problems.push(Problem::Outranked { host: host.clone(), address, holder });
            }
            if !own.is_empty() {
                addresses.insert(host.clone(), own);
            }
        }
    }

    /// Of each range one is named.
    fn add_overlaps(&mut self, demand: &Demand, config: &AllocationConfig) {
        for range in [config.ranges.ipv4(), config.ranges.ipv6()] {
            let mut holders = BTreeSet::new();
            let mut first = None;
            for (address, holder) in &demand.taken.addresses {
                if let Holder::Cluster(name) = holder
                    && range.contains(*address)
                {
                    holders.insert(name);
                    first.get_or_insert((*address, name));
                }
            }
            if let Some((address, holder)) = first {
                let others = holders.len() - 1;
                self.problems.push(Problem::Overlap { range, address, holder: holder.clone(), others });
            }
            let mut services = demand.taken.services.iter().filter(|(network, _)| {
                range.contains(network.address()) || network.contains(range.address())
            });
            if let Some((network, holder)) = services.next() {
                let (network, holder, others) = (*network, holder.clone(), services.count());
                self.problems.push(Problem::OfServices { range, network, holder, others });
            }
        }
    }
}

#[cfg(test)]
mod tests;
