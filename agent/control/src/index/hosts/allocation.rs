//! Which hosts need addresses, and what they were given.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use allocation::{AllocationConfig, Demand, Holder, Mode, Ranges, Reconciled, Taken, istio_v1};
use model::{Allocation, AllocationOrigin, Discovery, ObjectName};

use super::{
    HostsEntry,
    merge::{Host, Hosts, key},
};
use crate::entries::{Asked, Meaning};

/// By namespace and host.
#[derive(Default)]
pub(in crate::index) struct Allocations(BTreeMap<ObjectName, Allocation>);

/// Of `taken`, what is the cluster's is known. Whether everything is known is not for us to say.
pub(in crate::index) fn demand(hosts: &Hosts<'_>, taken: Taken, ranges: &Ranges) -> Demand {
    let mut taken = with_specs(taken, hosts, ranges);
    for (name, host) in &hosts.hosts {
        for ip in host.recorded.iter().filter(|ip| ranges.contains(**ip)) {
            taken.addresses.entry(*ip).or_insert_with(|| Holder::Entry(format!("host {name}")));
        }
    }
    let needy = hosts.hosts.iter().filter(|(_, host)| host.needs_address()).map(|(name, _)| name.clone());
    Demand { hosts: needy.collect(), taken, is_complete: true }
}

/// The same for whoever writes the status: what that says is nobody's demand, but the record itself.
pub(in crate::index) fn asked(hosts: &Hosts<'_>, taken: Taken, ranges: &Ranges) -> Asked {
    let mut asked = Asked { taken: with_specs(taken, hosts, ranges), ..Asked::default() };
    for (name, host) in &hosts.hosts {
        if host.has_none_of_its_own() {
            asked.hosts.insert(name.clone());
        }
        asked.recorded.insert(name.clone(), host.recorded.clone());
    }
    for entry in &hosts.entries {
        let eligible = entry.hosts.iter().filter(|host| entry.is_eligible(host)).cloned().collect();
        let written = entry.status.iter().map(|status| (status.host.clone(), status.ip)).collect();
        asked.entries.push((entry.name.clone(), Meaning { eligible, written }));
    }
    asked
}

/// What is the cluster's stays that.
fn with_specs(mut taken: Taken, hosts: &Hosts<'_>, ranges: &Ranges) -> Taken {
    for entry in &hosts.entries {
        let name = || key(entry).to_string();
        for (ip, _) in entry.addresses.iter().filter(|(ip, _)| ranges.contains(*ip)) {
            taken.addresses.entry(*ip).or_insert_with(|| Holder::Entry(name()));
        }
        let networks = entry.networks.iter().filter(|network| ranges.contains(network.address()));
        taken.networks.extend(networks.map(|network| (*network, name())));
    }
    taken
}

// === impl Allocations ===

impl Allocations {
    pub(in crate::index) fn of(hosts: &Hosts<'_>, written: &Reconciled, config: &AllocationConfig) -> Self {
        let mut allocations = Self::default();
        match config.mode {
            Mode::Recorded | Mode::Off => allocations.add_recorded(&hosts.hosts, written),
            Mode::IstioV1 => allocations.add_istio_v1(hosts),
        }
        allocations
    }

    pub(in crate::index) fn of_host(&self, host: &ObjectName) -> &[IpAddr] {
        let allocation = self.0.get(host).filter(|allocation| allocation.freed.is_none());
        allocation.map_or(&[], |allocation| &allocation.addresses)
    }

    pub(in crate::index) fn into_values(self) -> impl Iterator<Item = Allocation> {
        self.0.into_values()
    }

    /// What its ServiceEntry says comes before what is written elsewhere.
    fn add_recorded(&mut self, hosts: &BTreeMap<ObjectName, Host<'_>>, written: &Reconciled) {
        for (name, recorded) in written.record.hosts() {
            let in_force = hosts.get(name).filter(|host| host.needs_address());
            let in_force = in_force.and_then(|_| written.addresses.get(name)).cloned();
            let freed = recorded.freed.map(|freed| Arc::from(format!("{freed:.0}")));
            match (in_force, freed) {
                (Some(addresses), _) => self.add(name, addresses, AllocationOrigin::Recorded, None),
                (None, Some(freed)) => {
                    let addresses = vec![recorded.ipv4.into()];
                    self.add(name, addresses, AllocationOrigin::Recorded, Some(freed));
                }
                (None, None) => {}
            }
        }
        for (name, addresses) in &written.addresses {
            let is_in_force = hosts.get(name).is_some_and(Host::needs_address);
            if is_in_force && !self.0.contains_key(name) {
                self.add(name, addresses.clone(), AllocationOrigin::Hash, None);
            }
        }
        for (name, host) in hosts.iter().filter(|(_, host)| !host.recorded.is_empty()) {
            self.add(name, host.recorded.clone(), AllocationOrigin::Status, None);
        }
    }

    fn add_istio_v1(&mut self, hosts: &Hosts<'_>) {
        let is_eligible = |entry: &&&HostsEntry| {
            entry.discovery != Discovery::AsDialled && entry.addresses.is_empty() && entry.networks.is_empty()
        };
        let mut in_order: Vec<_> = hosts.entries.iter().filter(is_eligible).collect();
        in_order.sort_by_key(|entry| (entry.created, &entry.name.name, &entry.name.namespace));
        let names = in_order.into_iter().flat_map(|entry| {
            let mut hosts: Vec<_> = entry.hosts.iter().filter(|host| !host.starts_with('*')).collect();
            hosts.sort_unstable();
            hosts
                .into_iter()
                .map(|host| ObjectName { namespace: entry.name.namespace.clone(), name: host.clone() })
        });
        let names: Vec<_> = names.collect();
        for (name, addresses) in istio_v1::allocate(&names) {
            self.add(name, addresses.into(), AllocationOrigin::IstioV1, None);
        }
    }

    fn add(
        &mut self,
        host: &ObjectName,
        addresses: Vec<IpAddr>,
        origin: AllocationOrigin,
        freed: Option<Arc<str>>,
    ) {
        self.0.insert(host.clone(), Allocation { host: host.clone(), addresses, origin, freed });
    }
}
