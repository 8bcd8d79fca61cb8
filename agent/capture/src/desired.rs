//! PURE. What a captured pod's namespace should look like.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use model::{Exclusion, ExclusionList, Exclusions, OutboundPolicy, WhenAgentDown};

use crate::{Family, Steering, collision::Neighbours, exclusions, sysctl};

/// What is found in the namespace, and in the node's maps for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    /// Those of [`sysctl::wanted`] that exist there.
    pub sysctls: BTreeMap<String, String>,
    /// Addresses assigned in the namespace, those of `lo` included.
    pub assigned: Vec<IpAddr>,
    /// Families that `lo` does not have: nothing of them can be turned.
    pub not_on_lo: BTreeSet<Family>,
    /// The interfaces but `lo`, by index.
    pub interfaces: BTreeMap<u32, String>,
    /// Families that have our rule, where nothing comes before it that takes what it is for.
    pub rules: BTreeSet<Family>,
    /// Our route of each family, with its source address.
    pub routes: BTreeMap<Family, Option<IpAddr>>,
    /// What `ADDRESSES` holds for the namespace.
    pub own: BTreeSet<IpAddr>,
    /// The listeners of this agent are in their slots.
    pub listening: bool,
    /// The `steer` program of this agent is attached.
    pub steered: bool,
    /// The interfaces whose egress this agent's `guard` watches.
    pub guarded: BTreeSet<u32>,
    /// What `EXCLUSIONS` holds for the namespace, in force or not.
    pub exclusions: BTreeSet<Exclusion>,
    /// The entry in `PODS`.
    pub entry: Option<Terms>,
    /// What others have there.
    pub neighbours: Neighbours,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub sysctls: BTreeMap<String, String>,
    pub own: BTreeSet<IpAddr>,
    /// One rule and one route for each family that the pod can speak; the address becomes the source of what
    /// the route turns, else an application would appear to call from its destination's address.
    pub families: BTreeMap<Family, IpAddr>,
    /// Interfaces to be guarded, by index.
    pub guards: BTreeMap<u32, String>,
    pub exclusions: BTreeSet<Exclusion>,
    pub entry: Terms,
}

/// How a pod is captured: its entry in `PODS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    pub when_agent_down: WhenAgentDown,
    pub captures_dns: bool,
    pub outbound_policy: OutboundPolicy,
    /// The lists of exclusions that are in force.
    pub excludes: BTreeSet<ExclusionList>,
}

// === impl Actual ===

impl Actual {
    /// Nothing was done to the pod yet.
    pub fn is_untouched(&self, steering: &Steering) -> bool {
        self.entry.is_none() && !self.neighbours.rules.iter().any(|rule| rule.is_ours(steering))
    }
}

/// What the namespace should look like, given what it has and the addresses that Kubernetes knows of. Which lists of
/// exclusions are in force follows from what is `excluded`.
pub fn desire(actual: &Actual, pod_ips: &[IpAddr], terms: &Terms, excluded: &Exclusions) -> Desired {
    let sysctls = sysctl::wanted(actual.interfaces.values())
        .into_iter()
        .filter(|(name, _)| actual.sysctls.contains_key(name))
        .map(|(name, value)| (name, value.to_owned()))
        .collect();
    let own: BTreeSet<IpAddr> =
        actual.assigned.iter().map(IpAddr::to_canonical).filter(|ip| !ip.is_loopback()).collect();
    let families = Family::ALL
        .into_iter()
        .filter(|family| !actual.not_on_lo.contains(family))
        .filter_map(|family| Some((family, source(family, &actual.assigned, pod_ips)?)))
        .collect();
    let exclusions = exclusions::entries(excluded);
    let entry = Terms { excludes: exclusions::lists(&exclusions), ..terms.clone() };
    Desired { sysctls, own, families, guards: actual.interfaces.clone(), exclusions, entry }
}

/// The pod's own address if it is really assigned, else the first one that can leave the pod.
fn source(family: Family, assigned: &[IpAddr], pod_ips: &[IpAddr]) -> Option<IpAddr> {
    let usable = |ip: &&IpAddr| Family::of(**ip) == family && !ip.is_loopback() && !is_link_local_v6(**ip);
    let known = pod_ips.iter().filter(usable).find(|ip| assigned.contains(ip));
    known.or_else(|| assigned.iter().find(usable)).copied()
}

fn is_link_local_v6(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests;
