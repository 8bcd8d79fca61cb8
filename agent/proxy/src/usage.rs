//! How much of the proxy's threads one pod takes, and whether that is more than its part.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// What a pod takes is counted in windows of this length. The kernel handles packets of others on whatever thread
/// runs, for milliseconds at a time (`net.core.netdev_budget_usecs`): one such turn must not make a pod busy.
const WINDOW: Duration = Duration::from_millis(20);
/// A pod is busy when it takes more in a window than one part in so many of what all processors have.
const PART: u32 = 4;
/// And until it has not done so for so long.
const CALM_AFTER: Duration = Duration::from_secs(5);

/// Times are told by the caller, from any one moment on.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Nanoseconds, as all that follows.
    allowance: u64,
    /// Which window is counted, and what was taken in it.
    window: AtomicU64,
    taken: AtomicU64,
    busy_until: AtomicU64,
}

// === impl Usage ===

impl Usage {
    pub(crate) fn new() -> Self {
        Self::of(thread::available_parallelism().map_or(1, usize::from))
    }

    fn of(processors: usize) -> Self {
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        Self {
            allowance: nanos(WINDOW.saturating_mul(processors) / PART),
            window: AtomicU64::default(),
            taken: AtomicU64::default(),
            busy_until: AtomicU64::default(),
        }
    }

    pub(crate) fn is_busy(&self, now: Duration) -> bool {
        nanos(now) < self.busy_until.load(Ordering::Relaxed)
    }

    /// Threads that race for the begin of a window may lose what one of them took: the next window tells as much.
    pub(crate) fn charge(&self, now: Duration, took: Duration) {
        let (window, took) = (nanos(now) / nanos(WINDOW), nanos(took));
        if self.window.swap(window, Ordering::Relaxed) != window {
            self.taken.store(0, Ordering::Relaxed);
        }
        let taken = self.taken.fetch_add(took, Ordering::Relaxed).saturating_add(took);
        if self.allowance < taken {
            self.busy_until.store(nanos(now + CALM_AFTER), Ordering::Relaxed);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_pod_is_busy_while_it_takes_more_than_its_part_and_for_a_while_after() {
        // Of two processors: 10 ms in 20.
        let usage = Usage::of(2);
        usage.charge(80 * MS, 6 * MS);
        usage.charge(85 * MS, 4 * MS);
        assert!(!usage.is_busy(86 * MS), "all of its part, and no more");
        usage.charge(100 * MS, 10 * MS);
        assert!(!usage.is_busy(101 * MS), "and again in the next window");
        usage.charge(119 * MS, MS);
        assert!(usage.is_busy(120 * MS));
        assert!(usage.is_busy(119 * MS + CALM_AFTER - MS));
        assert!(!usage.is_busy(119 * MS + CALM_AFTER));
    }

    #[test]
    fn what_takes_long_at_once_counts_too() {
        let usage = Usage::of(2);
        usage.charge(100 * MS, 40 * MS);
        assert!(usage.is_busy(101 * MS));
    }
}
