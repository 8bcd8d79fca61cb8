//! PURE. A pod's exclusions, as the kernel keeps them: each entry of the map is a network, or as many ports as share
//! their first bits.

use std::collections::BTreeSet;

use model::{Excluded, Exclusion, ExclusionList, Exclusions, Ports};

/// What is to stand in the map. A range of ports becomes at most 30 entries.
pub fn entries(exclusions: &Exclusions) -> BTreeSet<Exclusion> {
    let mut entries = BTreeSet::new();
    for (exclusion, _) in exclusions.iter() {
        let Exclusion { list, what } = exclusion;
        match what {
            Excluded::Cidr(_) => {
                entries.insert(exclusion);
            }
            Excluded::Ports(ports) => {
                let blocks = aligned(ports).map(|ports| Exclusion { list, what: Excluded::Ports(ports) });
                entries.extend(blocks);
            }
        }
    }
    entries
}

/// The lists that are not empty.
pub fn lists(entries: &BTreeSet<Exclusion>) -> BTreeSet<ExclusionList> {
    entries.iter().map(|entry| entry.list).collect()
}

/// Cut where the leading bits change: 8000-8010 is 8000-8007, 8008-8009, 8010.
fn aligned(ports: Ports) -> impl Iterator<Item = Ports> {
    let mut rest = Some(ports);
    std::iter::from_fn(move || {
        let Ports { first, last } = rest?;
        // The largest block that begins at `first` and does not reach beyond `last`.
        let bits = (0..=first.trailing_zeros().min(15)).rev().find(|bits| block_end(first, *bits) <= last)?;
        let end = block_end(first, bits);
        rest = end.checked_add(1).filter(|next| *next <= last).map(|first| Ports { first, last });
        Some(Ports { first, last: end })
    })
}

/// The last of the ports that differ from `first` in the last `bits` alone.
pub(crate) fn block_end(first: u16, bits: u32) -> u16 {
    first | u16::MAX.checked_shr(16 - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests;
