//! What is to be written into the status of ServiceEntries. PURE.
//!
//! The record is what the statuses say. What is there stays there, but for what is another's, or of a host that is to have
//! no address any more; and of an entry that istiod wrote, everything does.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use allocation::{AllocationConfig, Demand, Problem, Record, Taken};
use control::entries::{Entries, Entry, Meaning};
use jiff::Timestamp;
use model::ObjectName;
use serde_json::{Value, json};

/// So many addresses that were freed are passed on to the next leader: they must fit into one ConfigMap.
const PASSED_ON_MAX: usize = 2_000;

/// What was given so far, and what was freed.
#[derive(Debug)]
pub(crate) struct Allocator {
    record: Record,
    config: AllocationConfig,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// The JSON patch of each status that is to change.
    pub(crate) patches: BTreeMap<ObjectName, Value>,
    /// Of the allocation as a whole.
    pub(crate) problems: Vec<String>,
    /// Of single ServiceEntries.
    pub(crate) complaints: BTreeMap<ObjectName, String>,
}

// === impl Allocator ===

impl Allocator {
    pub(crate) fn new(config: AllocationConfig) -> Self {
        Self { record: Record::default(), config }
    }

    /// For one that does not lead: learns what was given, and what is freed, and gives nothing.
    pub(crate) fn observe(&mut self, entries: &Entries, now: Timestamp) {
        self.adopt(entries);
        let known = |host: &ObjectName| entries.recorded.get(host).and_then(|ips| ipv4(ips)).is_some();
        // Given, and not written: by now it may be another's.
        self.record.retain(|host| !entries.hosts.contains(host) || known(host));
        let hosts = self.hosts(entries).into_iter().filter(known).collect();
        let demand = Demand { hosts, taken: Taken::default(), is_complete: true };
        self.record = self.record.reconcile(&demand, &self.config, now).record;
    }

    /// What the leader before has freed.
    pub(crate) fn adopt_freed(&mut self, freed: &Record) {
        self.record.adopt_freed(freed);
    }

    /// For the next leader.
    pub(crate) fn freed(&self, now: Timestamp) -> Record {
        self.record.in_quarantine(self.config.quarantine, now, PASSED_ON_MAX)
    }

    /// For the one that leads: whoever needs addresses is given some. They are in force once they are written.
    pub(crate) fn plan(&mut self, entries: &Entries, now: Timestamp) -> Plan {
        self.adopt(entries);
        let demand = Demand { hosts: self.hosts(entries), taken: entries.taken.clone(), is_complete: true };
        let reconciled = self.record.reconcile(&demand, &self.config, now);
        let of_host = |problem: &Problem| match problem {
            Problem::Outranked { host, .. } | Problem::Ipv6Taken { host, .. } => {
                Some((host.clone(), problem.to_string()))
            }
            Problem::Exhausted { .. } | Problem::Overlap { .. } | Problem::OfServices { .. } => None,
        };
        let problems: BTreeMap<ObjectName, String> = reconciled.problems.iter().filter_map(of_host).collect();
        let mut plan = Plan::default();
        for (name, entry) in &entries.entries {
            let Some(meaning) = &entry.meaning else { continue };
            let draft = Draft { name, entry, meaning, entries, given: &reconciled.addresses };
            if let Some(addresses) = draft.addresses() {
                plan.patches.insert(name.clone(), patch(entry.status.as_ref(), &addresses));
            }
            if let Some(complaint) = draft.complaint(&problems, &self.config) {
                plan.complaints.insert(name.clone(), complaint);
            }
        }
        plan.problems = reconciled.problems.iter().map(ToString::to_string).collect();
        self.record = reconciled.record;
        plan
    }

    fn adopt(&mut self, entries: &Entries) {
        let written = entries.recorded.iter();
        self.record.adopt(written.filter_map(|(host, ips)| Some((host.clone(), ipv4(ips)?))));
    }

    /// Who has an address keeps it, even if nobody would give it one any more.
    fn hosts(&self, entries: &Entries) -> BTreeSet<ObjectName> {
        let recorded = entries.recorded.iter().filter(|(_, ips)| ipv4(ips).is_some());
        entries.hosts.iter().chain(recorded.map(|(host, _)| host)).cloned().collect()
    }
}

fn ipv4(ips: &[IpAddr]) -> Option<Ipv4Addr> {
    ips.iter().find_map(|ip| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    })
}

/// One ServiceEntry, and all that decides about it.
struct Draft<'a> {
    name: &'a ObjectName,
    entry: &'a Entry,
    meaning: &'a Meaning,
    entries: &'a Entries,
    given: &'a BTreeMap<ObjectName, Vec<IpAddr>>,
}

// === impl Draft ===

impl Draft<'_> {
    /// What its `status.addresses` are to be; `None` where they are so.
    fn addresses(&self) -> Option<Value> {
        let written = self.entry.status.as_ref().and_then(|status| status["addresses"].as_array());
        let written: &[Value] = written.map_or(&[], Vec::as_slice);
        let mut wanted: Vec<(Arc<str>, IpAddr)> = Vec::new();
        for host in &self.meaning.eligible {
            let own = self.own(host);
            if self.entry.is_istiods {
                // What it has given is for it to mend.
                if self.meaning.written.iter().all(|(of, _)| of != host) {
                    wanted.extend(self.missing(host, &[]).map(|ip| (host.clone(), ip)));
                }
                continue;
            }
            let mut ips = own.clone();
            ips.extend(self.missing(host, &own));
            wanted.extend(ips.into_iter().map(|ip| (host.clone(), ip)));
        }
        let values = wanted.iter().map(|(host, ip)| json!({"value": ip, "host": **host}));
        if self.entry.is_istiods {
            return (!wanted.is_empty()).then(|| written.iter().cloned().chain(values).collect());
        }
        let set = |pairs: &[(Arc<str>, IpAddr)]| pairs.iter().cloned().collect::<BTreeSet<_>>();
        let is_so = written.len() == self.meaning.written.len() && set(&wanted) == set(&self.meaning.written);
        (!is_so).then(|| values.collect())
    }

    /// What is written here for the host, and is no other's.
    fn own(&self, host: &Arc<str>) -> Vec<IpAddr> {
        let in_force = self.entries.recorded.get(&self.service(host)).map_or(&[][..], Vec::as_slice);
        let of_host = self.meaning.written.iter().filter(|(of, _)| of == host).map(|(_, ip)| *ip);
        let mut own = Vec::new();
        for ip in of_host.filter(|ip| in_force.contains(ip)) {
            if !own.contains(&ip) {
                own.push(ip);
            }
        }
        own
    }

    /// One of each family that it has not: that of another entry of the same host, else the one that it was given.
    fn missing(&self, host: &Arc<str>, own: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
        let service = self.service(host);
        let is_wanted = self.entries.hosts.contains(&service);
        let of = |ips: Option<&Vec<IpAddr>>, is_ipv4: bool| {
            ips.and_then(|ips| ips.iter().copied().find(|ip| ip.is_ipv4() == is_ipv4))
        };
        let missing = [true, false].map(|is_ipv4| {
            let has = own.iter().any(|ip| ip.is_ipv4() == is_ipv4);
            let known = || of(self.entries.recorded.get(&service), is_ipv4);
            let given = || of(self.given.get(&service), is_ipv4);
            if has || !is_wanted { None } else { known().or_else(given) }
        });
        missing.into_iter().flatten()
    }

    /// Why not all is as its owner may expect.
    fn complaint(
        &self,
        problems: &BTreeMap<ObjectName, String>,
        config: &AllocationConfig,
    ) -> Option<String> {
        let hosts: Vec<_> = self.meaning.eligible.iter().map(|host| (host, self.service(host))).collect();
        for (_, service) in hosts.iter().filter(|(_, service)| self.entries.hosts.contains(service)) {
            if self.given.get(service).is_none_or(|ips| ipv4(ips).is_none()) {
                let range = config.ranges.ipv4();
                return Some(Problem::Exhausted { range, host: service.clone(), others: 0 }.to_string());
            }
        }
        if let Some(problem) = hosts.iter().find_map(|(_, service)| problems.get(service)) {
            return Some(problem.clone());
        }
        let foreign = |(host, ip): &&(Arc<str>, IpAddr)| {
            self.meaning.eligible.contains(host) && !self.own(host).contains(ip)
        };
        let (host, ip) = self.meaning.written.iter().filter(|_| self.entry.is_istiods).find(foreign)?;
        Some(format!(
            "{ip}, which istiod wrote for {host}, is also another's, so that it is not in force; remove it from \
             status.addresses, and another is given"
        ))
    }

    fn service(&self, host: &Arc<str>) -> ObjectName {
        ObjectName { namespace: self.name.namespace.clone(), name: host.clone() }
    }
}

/// Puts `addresses` there, if there is still what was there. To the API server, what is missing is null.
fn patch(status: Option<&Value>, addresses: &Value) -> Value {
    match status {
        None => json!([
            {"op": "test", "path": "/status", "value": null},
            {"op": "add", "path": "/status", "value": {"addresses": addresses}},
        ]),
        Some(status) => json!([
            {"op": "test", "path": "/status/addresses", "value": status["addresses"]},
            {"op": "add", "path": "/status/addresses", "value": addresses},
        ]),
    }
}

#[cfg(test)]
mod tests;
