//! How much a connection has carried and when it last did; read while it lives.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep};

#[derive(Debug)]
pub(crate) struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
    begun: Instant,
    /// Milliseconds from `begun`.
    last_byte: AtomicU64,
}

/// Which way bytes go, as the client sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Sent,
    Received,
}

// === impl Meter ===

impl Meter {
    pub(crate) fn new() -> Self {
        Self { sent: 0.into(), received: 0.into(), begun: Instant::now(), last_byte: 0.into() }
    }

    pub(crate) fn count(&self, way: Way, bytes: usize) {
        let counter = match way {
            Way::Sent => &self.sent,
            Way::Received => &self.received,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last_byte.store(self.now(), Ordering::Relaxed);
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How long no byte has moved.
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.last_byte.load(Ordering::Relaxed)))
    }

    /// Waits until no byte has moved for so long. One timer, whatever moves meanwhile.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        while let Some(left) = limit.checked_sub(self.idle()).filter(|left| !left.is_zero()) {
            sleep(left).await;
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
