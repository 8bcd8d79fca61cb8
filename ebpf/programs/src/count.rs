//! Counting outcomes.

use abi::{Counter, StopKey};

use crate::maps::{COUNTERS, STOPS};

#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the value belongs to this CPU, and the program is not preempted by itself.
        unsafe { *value += 1 };
    }
}

/// For the pod as well: somebody will ask why its connection does not get out.
///
/// A function of its own in the kernel too: `guard` has no stack to spare.
#[inline(never)]
pub(crate) fn count_stop(netns_cookie: u64, counter: Counter) {
    count(counter);
    let key = StopKey { netns_cookie, counter: counter as u32, reserved: 0 };
    match STOPS.get_ptr_mut(key) {
        // SAFETY: as above.
        Some(value) => unsafe { *value += 1 },
        // Where there is no room only the node's count tells.
        None => drop(STOPS.insert(key, 1, 0)),
    }
}
