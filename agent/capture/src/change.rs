//! One namespace: what is found in it, and changes taken back.

use std::collections::BTreeMap;

use netns::Netns;

use crate::{
    Error, Family, Steering,
    collision::{self, Neighbours, Rule},
    desired::Actual,
    filter,
    netlink::Netlink,
    plan::Change,
    sysctl,
};

/// What is found inside the namespace; of the node's maps it knows nothing.
pub async fn look(netns: &Netns, netlink: &Netlink, steering: &Steering) -> Result<Actual, Error> {
    let interfaces = netlink.interfaces().await?;
    let mut sysctls = BTreeMap::new();
    for name in sysctl::wanted(interfaces.values()).into_keys() {
        if let Some(value) = sysctl::read(netns, &name)? {
            sysctls.insert(name, value);
        }
    }
    let no_v6 = sysctl::read(netns, sysctl::LO_WITHOUT_IPV6)?.is_some_and(|value| value == "1");
    let rules = netlink.rules().await?;
    let place = collision::priority(&rules, steering);
    let in_place = |rule: &&Rule| rule.is_ours(steering) && place.is_none_or(|place| rule.priority == place);
    let table = netlink.routes(steering).await?;
    Ok(Actual {
        sysctls,
        not_on_lo: no_v6.then_some(Family::V6).into_iter().collect(),
        interfaces,
        assigned: netlink.addresses().await?,
        rules: rules.iter().filter(in_place).map(|rule| rule.family).collect(),
        routes: table.ours,
        neighbours: Neighbours {
            rules,
            routes: table.foreign.into_iter().collect(),
            ..Neighbours::default()
        },
        ..Actual::default()
    })
}

/// Takes a change back. Where somebody has changed the same thing since, theirs stays.
pub(crate) async fn revert(
    netns: &Netns,
    netlink: &Netlink,
    change: &Change,
    steering: &Steering,
) -> Result<(), Error> {
    match change {
        Change::Sysctl { name, before, after } => {
            // Not there any more: its interface is gone.
            if sysctl::read(netns, name)?.as_ref() == Some(after) {
                sysctl::write(netns, name, before)?;
            }
            Ok(())
        }
        Change::Rule { family } => netlink.remove_rule(*family, steering).await,
        Change::Route { family, .. } => netlink.remove_route(*family, steering).await,
        Change::Filter { ifindex } => filter::detach(netns, *ifindex),
    }
}

/// The first `before` of a sysctl is what was there without us; of a route only the last form exists.
pub(crate) fn merge(changes: &mut Vec<Change>, new: &Change) {
    match new {
        Change::Sysctl { name, .. } => {
            let known = |c: &Change| matches!(c, Change::Sysctl { name: n, .. } if n == name);
            if !changes.iter().any(known) {
                changes.push(new.clone());
            }
        }
        Change::Rule { .. } | Change::Filter { .. } => {
            if !changes.contains(new) {
                changes.push(new.clone());
            }
        }
        Change::Route { family, .. } => {
            let known = |c: &Change| matches!(c, Change::Route { family: f, .. } if f == family);
            match changes.iter_mut().find(|c| known(c)) {
                Some(change) => *change = new.clone(),
                None => changes.push(new.clone()),
            }
        }
    }
}
