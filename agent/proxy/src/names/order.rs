//! In which order the addresses of names are tried. Pure: the load and the dice are arguments.

use model::EndpointAddr;

/// The first, then the others in the order in which DNS gave them, but one of each family in turn: where one family
/// leads nowhere, the next try is of the other (RFC 8305).
pub(super) fn in_turn(mut all: Vec<EndpointAddr>, first: usize) -> Vec<EndpointAddr> {
    if all.len() <= first {
        return all;
    }
    let first = all.remove(first);
    let (same, other): (Vec<_>, Vec<_>) = all.into_iter().partition(|addr| is_v4(*addr) == is_v4(first));
    let mut ordered = vec![first];
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    loop {
        let pair = [other.next(), same.next()];
        if pair == [None, None] {
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

fn is_v4(addr: EndpointAddr) -> bool {
    addr.ip().is_ipv4()
}

#[cfg(test)]
mod tests;
