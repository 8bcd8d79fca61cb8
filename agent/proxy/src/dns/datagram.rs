//! Room for one datagram, for as long as it is looked at.

use std::cell::RefCell;

/// More than a datagram can be.
const DATAGRAM_MAX: usize = 1 << 16;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; DATAGRAM_MAX]);
}

/// That of the thread: nobody waits while it is in use.
///
/// # Panics
/// Inside itself.
pub(super) fn with_buffer<T>(look: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| look(buffer))
}
