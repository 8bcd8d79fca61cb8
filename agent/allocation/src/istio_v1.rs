//! The allocation of istiod before it kept records, exactly: with its flaws, for what it said must be said again.
//!
//! A hash gives each host one of 65 024 slots. Then the slots are numbered, but a number that is a multiple of 255 is
//! skipped where its slot is taken, and with it one address for all that follow: a host that comes may move others.
//! The IPv6 address is written in hexadecimal digits without leading zeros, so that two hosts may share one.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use model::ObjectName;

use crate::hash;

const SLOTS: u32 = 256 * 254;
/// Where all but one slot are taken, most hosts find that one sooner.
const TRIES: u32 = 16 * SLOTS;
/// For the second hash.
const PRIME: u32 = 65_011;

/// `hosts` in istiod's order: by the creation of their ServiceEntries, then by their names, then by their namespaces. One
/// that stands twice takes two slots and has the address of the lower.
pub fn allocate<'a>(hosts: impl IntoIterator<Item = &'a ObjectName>) -> HashMap<&'a ObjectName, [IpAddr; 2]> {
    let mut slots: Vec<Option<&ObjectName>> = vec![None; SLOTS as usize];
    // More than there are slots get nothing, as with istiod.
    for host in hosts.into_iter().take(slots.len()) {
        if let Some(slot) = slot(&slots, hash::fnv1a(host)) {
            slots[slot] = Some(host);
        }
    }
    let mut allocated = HashMap::new();
    let mut number = 0;
    for slot in slots {
        number += 1;
        let Some(host) = slot else { continue };
        if number % 255 == 0 {
            number += 1;
        }
        allocated.entry(host).or_insert_with(|| addresses(number / 255, number % 255));
    }
    allocated
}

/// A free one; `None` where the second hash passes by those few that are left. There istiod would never end.
fn slot(slots: &[Option<&ObjectName>], hash: u32) -> Option<usize> {
    let step = PRIME - hash % PRIME;
    let others = (1..TRIES).map(|n| hash.wrapping_add(n.wrapping_mul(step)) % (SLOTS - 1));
    let mut candidates = std::iter::once(hash % SLOTS).chain(others).map(|slot| slot as usize);
    candidates.find(|slot| slots.get(*slot).is_some_and(Option::is_none))
}

fn addresses(third: u32, fourth: u32) -> [IpAddr; 2] {
    let ipv4 = Ipv4Addr::from_bits(0xf0f0_0000 + third * 256 + fourth);
    // `f0f0:%x%x`; as bits, the fourth moves the third by as many digits as it has.
    let digits = if fourth < 16 { 4 } else { 8 };
    let last = third << digits | fourth;
    let ipv6 = Ipv6Addr::from_bits(0x2001_0002_u128 << 96 | 0xf0f0_0000 | u128::from(last));
    [ipv4.into(), ipv6.into()]
}

#[cfg(test)]
mod tests;
