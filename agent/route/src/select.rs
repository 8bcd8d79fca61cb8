//! One endpoint out of several.

use std::fmt;

use model::{Endpoint, EndpointAddr};
use serde::Serialize;

/// Endpoints of which any may serve the connection; at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Candidates<'a>(Vec<&'a Endpoint>);

/// Chooses the endpoint of a new connection.
///
/// `sticky` is the one that session affinity remembers; it wins as long as it is a candidate. Otherwise the
/// less loaded of two drawn at random: nearly as even as the least loaded of all, and no two proxies that see
/// the same figures rush to the same endpoint. `random(n)` draws from `0..n`.
pub fn select<'a>(
    candidates: &Candidates<'a>,
    sticky: Option<EndpointAddr>,
    load: impl Fn(EndpointAddr) -> usize,
    random: impl FnMut(usize) -> usize,
) -> &'a Endpoint {
    let all = &candidates.0;
    if let Some(remembered) = all.iter().find(|e| Some(e.addr) == sticky) {
        return remembered;
    }
    // There is at least one.
    all[less_loaded(all, |endpoint| load(endpoint.addr), random).unwrap_or_default()]
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

// === impl Candidates ===

impl<'a> Candidates<'a> {
    /// `None` where there are none.
    pub fn new(endpoints: Vec<&'a Endpoint>) -> Option<Self> {
        (!endpoints.is_empty()).then_some(Self(endpoints))
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a Endpoint> {
        self.0.iter().copied()
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
