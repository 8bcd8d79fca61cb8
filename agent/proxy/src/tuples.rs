//! The connections that end in one pod, as its kernel tells them apart. Pure.
//!
//! The socket accepted from a client and the one that delivers in that client's name have the same two
//! addresses and differ only in the client's port. Were that the same too, the kernel would take the
//! delivery's first segment for one of the accepted connection, and it would hang. So what is accepted and
//! what is delivered are in one table, and a delivery takes a port that is free in it.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

/// A client and an address of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
}

/// Which port a delivery would like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// This one: the client's own, which is not in use in another namespace.
    Port(u16),
    /// The next of the ranges, which no client draws from.
    FromRange,
}

/// How many ports of a range are tried at first: with thousands of connections a search of all would take longer
/// than all the rest of a delivery.
const GLIMPSE: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Tuples {
    /// Counted: a client can reuse its port before the task of its former connection has ended.
    accepted: HashMap<Tuple, usize>,
    delivered: HashSet<Tuple>,
    /// Turns through the ranges, so that a port rests as long as possible before it is used again.
    next: usize,
}

// === impl Tuples ===

impl Tuples {
    /// Notes an accepted connection; `false` if it is one that we deliver ourselves.
    pub(crate) fn accept(&mut self, tuple: Tuple) -> bool {
        if self.delivered.contains(&tuple) {
            return false;
        }
        *self.accepted.entry(tuple).or_default() += 1;
        true
    }

    pub(crate) fn forget_accepted(&mut self, tuple: Tuple) {
        if let Some(count) = self.accepted.get_mut(&tuple) {
            *count -= 1;
            if *count == 0 {
                self.accepted.remove(&tuple);
            }
        }
    }

    /// Takes a free tuple from the client's address to `server`; `None` when all are taken.
    pub(crate) fn deliver(
        &mut self,
        client: IpAddr,
        server: SocketAddr,
        wanted: Wanted,
        ranges: &[RangeInclusive<u16>],
    ) -> Option<Tuple> {
        let tuple = |port| Tuple { client: SocketAddr::new(client, port), server };
        if let Wanted::Port(port) = wanted
            && self.claim(tuple(port))
        {
            return Some(tuple(port));
        }
        let turn = self.next;
        self.next = self.next.wrapping_add(1);
        // A range that is full is not searched to its end before the next one is tried.
        let glimpses = ranges.iter().flat_map(|range| turned(range, turn).take(GLIMPSE));
        let all = ranges.iter().flat_map(|range| turned(range, turn));
        glimpses.chain(all).map(tuple).find(|&t| self.claim(t))
    }

    pub(crate) fn forget_delivered(&mut self, tuple: Tuple) {
        self.delivered.remove(&tuple);
    }

    fn claim(&mut self, tuple: Tuple) -> bool {
        !self.accepted.contains_key(&tuple) && self.delivered.insert(tuple)
    }
}

/// All of the range once, beginning `turn` places in.
fn turned(range: &RangeInclusive<u16>, turn: usize) -> impl Iterator<Item = u16> + use<> {
    let ports = range.clone();
    let start = if ports.is_empty() { 0 } else { turn % ports.len() };
    ports.clone().skip(start).chain(ports.take(start))
}

#[cfg(test)]
mod tests;
