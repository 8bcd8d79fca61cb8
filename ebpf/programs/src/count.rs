//! Counting outcomes.

use abi::Counter;

use crate::maps::COUNTERS;

#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the value belongs to this CPU, and the program is not preempted by itself.
        unsafe { *value += 1 };
    }
}
