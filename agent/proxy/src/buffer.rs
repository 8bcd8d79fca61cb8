//! Copy buffers: lent while bytes move, given back as soon as a stream idles.

use std::{
    mem,
    ops::{Deref, DerefMut},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::lock::lock;

/// Where every stream begins. Larger from the start would cost rate: most connections carry little.
pub(crate) const SMALLEST: usize = 16 << 10;
/// Where a bulk stream ends. Larger was measured to be slower.
pub(crate) const LARGEST: usize = 1 << 20;
/// 16 KiB doubled six times is 1 MiB.
const SIZES: usize = 7;
/// What each shelf keeps for the next taker; the rest goes back to the system.
const KEPT: usize = 4 << 20;

/// One shelf of unused buffers for each size.
#[derive(Debug)]
pub(crate) struct Pool {
    shelves: [Mutex<Vec<Box<[u8]>>>; SIZES],
    lent: AtomicUsize,
    limit: usize,
}

/// Goes back to its pool when dropped.
#[derive(Debug)]
pub(crate) struct Buffer<'p> {
    bytes: Box<[u8]>,
    pool: &'p Pool,
}

// === impl Pool ===

impl Pool {
    /// `limit` bounds what is lent, but that a stream always gets a buffer of the smallest size.
    pub(crate) fn new(limit: usize) -> Self {
        Self { shelves: Default::default(), lent: AtomicUsize::new(0), limit }
    }

    /// A buffer of `size`, one of [`SMALLEST`] doubled; or of the smallest when memory is short.
    pub(crate) fn take(&self, size: usize) -> Buffer<'_> {
        let size = size.clamp(SMALLEST, LARGEST).next_power_of_two();
        let size = if self.lent() + size <= self.limit { size } else { SMALLEST };
        self.lent.fetch_add(size, Ordering::Relaxed);
        let kept = lock(self.shelf(size)).pop();
        let bytes = kept.unwrap_or_else(|| vec![0; size].into_boxed_slice());
        Buffer { bytes, pool: self }
    }

    /// Bytes in use at this moment.
    pub(crate) fn lent(&self) -> usize {
        self.lent.load(Ordering::Relaxed)
    }

    fn shelf(&self, size: usize) -> &Mutex<Vec<Box<[u8]>>> {
        let doubled = size.trailing_zeros() - SMALLEST.trailing_zeros();
        &self.shelves[doubled as usize]
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
        self.pool.lent.fetch_sub(size, Ordering::Relaxed);
        let mut shelf = lock(self.pool.shelf(size));
        if shelf.len() < KEPT / size {
            shelf.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests;
