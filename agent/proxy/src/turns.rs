//! Whose bytes are moved next, when more streams have some than there are threads to move them.
//!
//! The runtime runs what is ready in the order in which it became so. Were every stream with bytes to move in that
//! queue, a new connection would wait for all of them, at each of its stages. So the streams of a pod take turns, and
//! only as many of them are in the queue as there are processors: what others wait for is the number of busy pods, not
//! of their streams. What is small goes without a turn.

use std::thread;

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::yield_now,
};

/// What a stream carries without a turn when it has been idle: most requests and answers, whole.
const FREE: usize = 32 << 10;
/// What it carries in a turn: some 20 µs.
const TURN: usize = 64 << 10;
/// And where the pod has turns left, so that nobody of it waits: to give way costs throughput.
const LONG_TURN: usize = 1 << 20;
/// What one read counts at least, so that a stream of single bytes gives way too.
const LEAST_COUNT: usize = 8 << 10;

/// The turns of one pod.
#[derive(Debug)]
pub(crate) struct Turns(Semaphore);

/// One stream's part in them, from when it has something to carry until it has to wait.
#[derive(Debug)]
pub(crate) struct Turn<'t> {
    turns: &'t Turns,
    permit: Option<SemaphorePermit<'t>>,
    carried: usize,
}

// === impl Turns ===

impl Turns {
    /// A pod that is alone has all processors.
    pub(crate) fn new() -> Self {
        Self::at_once(thread::available_parallelism().map_or(1, usize::from))
    }

    fn at_once(streams: usize) -> Self {
        Self(Semaphore::new(streams))
    }

    pub(crate) fn begin(&self) -> Turn<'_> {
        Turn { turns: self, permit: None, carried: 0 }
    }
}

// === impl Turn ===

impl Turn<'_> {
    pub(crate) fn count(&mut self, bytes: usize) {
        self.carried += bytes.max(LEAST_COUNT);
    }

    /// Whether the stream is to wait for another turn before it carries so many more.
    pub(crate) fn is_over_before(&self, bytes: usize) -> bool {
        match self.permit {
            None => FREE < self.carried + bytes,
            Some(_) if self.turns.0.available_permits() == 0 => TURN <= self.carried,
            Some(_) => LONG_TURN <= self.carried,
        }
    }

    /// Lets another stream have the turn.
    pub(crate) fn pass(&mut self) {
        self.permit = None;
        self.carried = 0;
    }

    /// Waits for the next.
    ///
    /// # Cancel safety
    /// Dropped half-way, it gives up its place, and the turn that it had.
    pub(crate) async fn next(&mut self) {
        let had_one = self.permit.take().is_some();
        self.permit = match self.turns.0.try_acquire() {
            Ok(permit) => {
                if had_one {
                    yield_now().await;
                }
                Some(permit)
            }
            // It is never closed.
            Err(_) => self.turns.0.acquire().await.ok(),
        };
        self.carried = 0;
    }
}

#[cfg(test)]
mod tests;
