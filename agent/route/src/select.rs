//! One endpoint out of several.

use std::{collections::BTreeMap, fmt, num::NonZeroU32};

use model::{Endpoint, EndpointAddr};
use serde::Serialize;

/// Endpoints of which any may serve the connection; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Candidates<'a> {
    endpoints: Vec<&'a Endpoint>,
    /// Of those that have one; the others' is 1.
    #[serde(skip)]
    weights: &'a BTreeMap<EndpointAddr, NonZeroU32>,
}

/// Chooses the endpoint of a new connection.
///
/// `sticky` is the one that session affinity remembers; it wins as long as it is a candidate. Otherwise the
/// less loaded of two drawn at random: nearly as even as the least loaded of all, and no two proxies that see
/// the same figures rush to the same endpoint. Where candidates have weights, they are drawn as often as these say,
/// and the load of each counts for its weight. `random(n)` draws from `0..n`.
pub fn select<'a>(
    candidates: &Candidates<'a>,
    sticky: Option<EndpointAddr>,
    load: impl Fn(EndpointAddr) -> usize,
    random: impl FnMut(usize) -> usize,
) -> &'a Endpoint {
    let all = &candidates.endpoints;
    if let Some(remembered) = all.iter().find(|e| Some(e.addr) == sticky) {
        return remembered;
    }
    let chosen = match candidates.weights.is_empty() {
        true => less_loaded(all, |endpoint| load(endpoint.addr), random),
        false => less_loaded_by_weight(all, |e| candidates.weight(e), |e| load(e.addr), random),
    };
    // There is at least one.
    all[chosen.unwrap_or_default()]
}

/// The place of the less loaded of two drawn at random; `None` where there are none. `random(n)` draws from `0..n`.
pub fn less_loaded<T>(
    all: &[T],
    load: impl Fn(&T) -> usize,
    mut random: impl FnMut(usize) -> usize,
) -> Option<usize> {
    if all.len() < 2 {
        return (!all.is_empty()).then_some(0);
    }
    let first = random(all.len());
    // Drawn from one fewer and moved past the first, so that the two always differ.
    let mut second = random(all.len() - 1);
    if second >= first {
        second += 1;
    }
    Some(if load(&all[second]) < load(&all[first]) { second } else { first })
}

/// The same for candidates that are not alike: the one that has less for each part of its weight.
fn less_loaded_by_weight<T>(
    all: &[T],
    weight: impl Fn(&T) -> usize,
    load: impl Fn(&T) -> usize,
    mut random: impl FnMut(usize) -> usize,
) -> Option<usize> {
    if all.len() < 2 {
        return (!all.is_empty()).then_some(0);
    }
    let total: usize = all.iter().map(&weight).sum();
    let draw = |mut ticket: usize, without: Option<usize>| {
        let mut others = all.iter().enumerate().filter(|(place, _)| Some(*place) != without);
        others.find_map(|(place, candidate)| match ticket.checked_sub(weight(candidate)) {
            None => Some(place),
            Some(left) => {
                ticket = left;
                None
            }
        })
    };
    // There are as many tickets as the weights say, so that each draws one.
    let first = draw(random(total), None)?;
    let second = draw(random(total - weight(&all[first])), Some(first))?;
    let share = |of: usize, against: usize| load(&all[of]) as u128 * weight(&all[against]) as u128;
    Some(if share(second, first) < share(first, second) { second } else { first })
}

// === impl Candidates ===

impl<'a> Candidates<'a> {
    /// `None` where there are none. `weights` may say more than of these.
    pub fn new(
        endpoints: Vec<&'a Endpoint>,
        weights: &'a BTreeMap<EndpointAddr, NonZeroU32>,
    ) -> Option<Self> {
        (!endpoints.is_empty()).then_some(Self { endpoints, weights })
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a Endpoint> {
        self.endpoints.iter().copied()
    }

    /// What somebody has written, if anybody has.
    pub fn weight_of(&self, endpoint: EndpointAddr) -> Option<NonZeroU32> {
        self.weights.get(&endpoint).copied()
    }

    /// At most 2³² − 1, so that those of all endpoints that fit into memory can be added up.
    fn weight(&self, endpoint: &Endpoint) -> usize {
        self.weight_of(endpoint.addr).map_or(1, |weight| weight.get() as usize)
    }
}

impl fmt::Display for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, endpoint) in self.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{}", endpoint.addr)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
