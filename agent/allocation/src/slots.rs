//! The addresses of a range that are free. However hashes fall, to find the next free one takes hardly longer than a
//! look: who chooses names with care cannot make it slow.

use std::collections::{BTreeMap, HashMap};

#[derive(Debug)]
pub(crate) struct Free {
    slots: u32,
    left: u32,
    /// Of networks, from the first to the last; none touches another.
    reserved: BTreeMap<u32, u32>,
    /// Of each that is taken, one from which to look on; shortened whenever somebody passes.
    next: HashMap<u32, u32>,
}

// === impl Free ===

impl Free {
    pub(crate) fn new(slots: u32, reserved: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut sorted: Vec<_> = reserved.into_iter().collect();
        sorted.sort_unstable();
        let mut reserved: BTreeMap<u32, u32> = BTreeMap::new();
        for (first, last) in sorted {
            match reserved.last_entry() {
                Some(mut before) if first <= before.get().saturating_add(1) => {
                    *before.get_mut() = last.max(*before.get());
                }
                _ => {
                    reserved.insert(first, last);
                }
            }
        }
        let taken: u32 = reserved.iter().map(|(first, last)| last - first + 1).sum();
        Self { slots, left: slots.saturating_sub(taken), reserved, next: HashMap::new() }
    }

    pub(crate) fn take(&mut self, slot: u32) {
        if self.next.contains_key(&slot) || self.end_of_reserved(slot).is_some() {
            return;
        }
        self.next.insert(slot, self.after(slot));
        self.left = self.left.saturating_sub(1);
    }

    /// The first that is free from `slot` on, round the end to the beginning.
    pub(crate) fn first_from(&mut self, slot: u32) -> Option<u32> {
        if self.left == 0 {
            return None;
        }
        let mut passed = Vec::new();
        let mut at = slot;
        // Ends, for one is free.
        loop {
            let onward = match (self.next.get(&at), self.end_of_reserved(at)) {
                (Some(next), _) => *next,
                (None, Some(last)) => self.after(last),
                (None, None) => break,
            };
            passed.push(at);
            at = onward;
        }
        for slot in passed {
            self.next.insert(slot, at);
        }
        Some(at)
    }

    fn end_of_reserved(&self, slot: u32) -> Option<u32> {
        self.reserved.range(..=slot).next_back().map(|(_, last)| *last).filter(|last| slot <= *last)
    }

    fn after(&self, slot: u32) -> u32 {
        if slot + 1 < self.slots { slot + 1 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::Free;

    #[test]
    fn every_slot_is_given_once() {
        for (name, reserved, taken, expected) in [
            ("empty", &[][..], &[][..], &[3, 4, 5, 0, 1, 2][..]),
            ("some taken", &[], &[4, 4, 0], &[3, 5, 1, 2]),
            ("a network", &[(2, 4)], &[], &[5, 0, 1]),
            ("networks within one another", &[(0, 1), (0, 0), (1, 2)], &[2], &[3, 4, 5]),
            ("a network at the end", &[(4, 5)], &[3], &[0, 1, 2]),
            ("all taken", &[(0, 3)], &[4, 5], &[]),
        ] {
            let mut free = Free::new(6, reserved.iter().copied());
            taken.iter().for_each(|slot| free.take(*slot));
            let mut given = Vec::new();
            while let Some(slot) = free.first_from(3) {
                free.take(slot);
                given.push(slot);
            }
            assert_eq!(given, expected, "{name}");
        }
    }
}
