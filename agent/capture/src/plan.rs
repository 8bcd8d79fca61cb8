//! PURE. From what is there to what should be: the steps, as data.

use std::net::IpAddr;

use model::{Exclusion, ExclusionList};
use serde::{Deserialize, Serialize};

use crate::{
    Family,
    desired::{Actual, Desired, Terms},
};

/// One step of enrolment, in the order of this list: a pod captures nothing before everything that carries its
/// connections is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A change in the namespace that outlives the agent: journalled before it is made.
    Change(Change),
    AddOwnAddress(IpAddr),
    RemoveOwnAddress(IpAddr),
    Listen,
    Steer,
    Guard {
        ifindex: u32,
        interface: String,
    },
    /// The interface is gone.
    ForgetGuard {
        ifindex: u32,
    },
    Exclude(Exclusion),
    Include(Exclusion),
    /// From here on new connections are captured; or, if they were `before`, on other terms.
    Begin {
        before: Option<Terms>,
        terms: Terms,
    },
}

/// A change in the pod's namespace, with what is needed to take it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum Change {
    Sysctl {
        name: String,
        before: String,
        after: String,
    },
    Rule {
        family: Family,
    },
    Route {
        family: Family,
        source: IpAddr,
    },
    /// The guard of an interface, where it is no link.
    Filter {
        ifindex: u32,
    },
}

/// What leads from `actual` to `desired`. Empty when nothing is to be done.
pub fn plan(actual: &Actual, desired: &Desired) -> Vec<Step> {
    let Desired { sysctls, own, families, guards, exclusions, entry } = desired;
    let mut steps = Vec::new();
    for (name, after) in sysctls {
        let before = actual.sysctls.get(name).cloned().unwrap_or_default();
        if before != *after {
            steps.push(Step::Change(Change::Sysctl { name: name.clone(), before, after: after.clone() }));
        }
    }
    for (&family, &source) in families {
        // The route first: a rule that leads to an empty table would let marked packets through.
        if actual.routes.get(&family) != Some(&Some(source)) {
            steps.push(Step::Change(Change::Route { family, source }));
        }
        if !actual.rules.contains(&family) {
            steps.push(Step::Change(Change::Rule { family }));
        }
    }
    steps.extend(own.difference(&actual.own).copied().map(Step::AddOwnAddress));
    steps.extend(actual.own.difference(own).copied().map(Step::RemoveOwnAddress));
    if !actual.listening {
        steps.push(Step::Listen);
    }
    if !actual.steered {
        steps.push(Step::Steer);
    }
    for (&ifindex, interface) in guards {
        if !actual.guarded.contains(&ifindex) {
            steps.push(Step::Guard { ifindex, interface: interface.clone() });
        }
    }
    let vanished = actual.guarded.iter().filter(|ifindex| !guards.contains_key(ifindex));
    steps.extend(vanished.map(|&ifindex| Step::ForgetGuard { ifindex }));
    // What stays excluded is so all the while, in another form or not: the new before the old goes. What is not
    // in force goes before it could be, and makes room.
    let in_force = |list: ExclusionList| actual.entry.as_ref().is_some_and(|e| e.excludes.contains(&list));
    let (old, stale): (Vec<Exclusion>, Vec<Exclusion>) =
        actual.exclusions.difference(exclusions).partition(|exclusion| in_force(exclusion.list));
    steps.extend(stale.into_iter().map(Step::Include));
    steps.extend(exclusions.difference(&actual.exclusions).copied().map(Step::Exclude));
    if actual.entry.as_ref() != Some(entry) {
        steps.push(Step::Begin { before: actual.entry.clone(), terms: entry.clone() });
    }
    steps.extend(old.into_iter().map(Step::Include));
    steps
}

#[cfg(test)]
mod tests;
