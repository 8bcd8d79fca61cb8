//! Copy buffers: lent while bytes move, given back as soon as a stream idles.

use std::{
    mem,
    ops::{Deref, DerefMut},
    sync::Mutex,
};

use crate::{ledger::Account, lock::lock};

/// What a stream always gets, so that it goes on where memory is short.
pub(crate) const LEAST: usize = 4 << 10;
/// Where every stream begins. Larger from the start would cost rate: most connections carry little.
pub(crate) const SMALLEST: usize = 16 << 10;
/// Where a bulk stream ends. Larger was measured to be slower.
pub(crate) const LARGEST: usize = 1 << 20;
/// 4 KiB doubled eight times is 1 MiB.
const SIZES: usize = 9;
/// What each shelf keeps for the next taker; the rest goes back to the system.
const KEPT: usize = 4 << 20;

/// One shelf of unused buffers for each size.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    shelves: [Mutex<Vec<Box<[u8]>>>; SIZES],
}

/// The pool as one pod may use it: what is lent is on its account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PodPool<'p> {
    pub(crate) pool: &'p Pool,
    pub(crate) account: &'p Account,
}

/// Goes back to its pool when dropped.
#[derive(Debug)]
pub(crate) struct Buffer<'p> {
    bytes: Box<[u8]>,
    pool: PodPool<'p>,
}

// === impl Pool ===

impl Pool {
    fn shelf(&self, size: usize) -> &Mutex<Vec<Box<[u8]>>> {
        let doubled = size.trailing_zeros() - LEAST.trailing_zeros();
        &self.shelves[doubled as usize]
    }
}

// === impl PodPool ===

impl<'p> PodPool<'p> {
    /// A buffer of `size`, one of [`SMALLEST`] doubled; or a smaller one when memory is short.
    pub(crate) fn take(self, size: usize) -> Buffer<'p> {
        let wanted = size.clamp(SMALLEST, LARGEST).next_power_of_two();
        let may_have = |size: &usize| self.account.take(*size).is_ok();
        let size = [wanted, SMALLEST].into_iter().find(may_have).unwrap_or_else(|| {
            self.account.overdraw(LEAST);
            LEAST
        });
        let kept = lock(self.pool.shelf(size)).pop();
        let bytes = kept.unwrap_or_else(|| vec![0; size].into_boxed_slice());
        Buffer { bytes, pool: self }
    }
}

// === impl Buffer ===

impl Deref for Buffer<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let bytes = mem::take(&mut self.bytes);
        let size = bytes.len();
        self.pool.account.give_back(size);
        let mut shelf = lock(self.pool.pool.shelf(size));
        if shelf.len() < KEPT / size {
            shelf.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
