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
/// A pod that seems busy is looked at closely for so long.
const SUSPICION: Duration = Duration::from_millis(100);

/// How the time is taken that a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Costs nothing, but runs on while the kernel has put the thread aside for others: good for a suspicion.
    Wall,
    /// That of the thread, a system call: good for a verdict.
    Thread,
}

/// Times are told by the caller, from any one moment on.
#[derive(Debug)]
pub(crate) struct Usage {
    /// Nanoseconds, as all that follows.
    allowance: u64,
    /// Which window is counted, and what was taken in it by either clock.
    window: AtomicU64,
    by_wall: AtomicU64,
    by_thread: AtomicU64,
    suspect_until: AtomicU64,
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
            by_wall: AtomicU64::default(),
            by_thread: AtomicU64::default(),
            suspect_until: AtomicU64::default(),
            busy_until: AtomicU64::default(),
        }
    }

    pub(crate) fn is_busy(&self, now: Duration) -> bool {
        nanos(now) < self.busy_until.load(Ordering::Relaxed)
    }

    /// By which clock the pod's next task is to be charged.
    pub(crate) fn clock(&self, now: Duration) -> Clock {
        if nanos(now) < self.suspect_until.load(Ordering::Relaxed) { Clock::Thread } else { Clock::Wall }
    }

    /// Threads that race for the begin of a window may lose what one of them took: the next window tells as much.
    pub(crate) fn charge(&self, now: Duration, took: Duration, clock: Clock) {
        let (window, took) = (nanos(now) / nanos(WINDOW), nanos(took));
        if self.window.swap(window, Ordering::Relaxed) != window {
            self.by_wall.store(0, Ordering::Relaxed);
            self.by_thread.store(0, Ordering::Relaxed);
        }
        let taken = match clock {
            Clock::Wall => &self.by_wall,
            Clock::Thread => &self.by_thread,
        };
        if taken.fetch_add(took, Ordering::Relaxed).saturating_add(took) <= self.allowance {
            return;
        }
        match clock {
            // One that is known to be busy is asked again when half its time is over.
            Clock::Wall if self.is_busy(now + CALM_AFTER / 2) => {}
            Clock::Wall => self.suspect_until.store(nanos(now + SUSPICION), Ordering::Relaxed),
            Clock::Thread => {
                self.busy_until.store(nanos(now + CALM_AFTER), Ordering::Relaxed);
                self.suspect_until.store(0, Ordering::Relaxed);
            }
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

    impl Usage {
        /// Tasks that take so long each, one in each millisecond from then on; `slept` of it the kernel ran others.
        fn run(&self, from: u32, tasks: u32, took: Duration, slept: Duration) {
            for task in from..from + tasks {
                let now = task * MS;
                let clock = self.clock(now);
                let told = if clock == Clock::Wall { took } else { took - slept };
                self.charge(now, told, clock);
            }
        }
    }

    #[test]
    fn a_pod_is_busy_while_it_takes_more_than_its_part_and_for_a_while_after() {
        // Of two processors: 10 ms in 20.
        let usage = Usage::of(2);
        usage.run(0, 1_000, MS / 2, Duration::ZERO);
        assert!(!usage.is_busy(1_000 * MS), "all of its part, and no more");
        usage.run(1_000, 100, MS, Duration::ZERO);
        assert!(usage.is_busy(1_100 * MS));
        usage.run(1_100, 20_000, MS, Duration::ZERO);
        assert!(usage.is_busy(21_100 * MS + CALM_AFTER / 2 - MS), "it is asked again in time");
        assert!(!usage.is_busy(21_100 * MS + CALM_AFTER));
    }

    #[test]
    fn a_pod_whose_tasks_wait_long_for_a_processor_does_not_take_it() {
        let usage = Usage::of(2);
        usage.run(0, 10_000, 30 * MS, 30 * MS - MS / 4);
        assert!(!usage.is_busy(10_000 * MS));
    }

    #[test]
    fn a_pod_that_was_busy_and_only_waits_now_is_calm_again() {
        let usage = Usage::of(2);
        usage.run(0, 100, MS, Duration::ZERO);
        usage.run(100, 6_000, 30 * MS, 30 * MS - MS / 4);
        assert!(!usage.is_busy(6_100 * MS));
    }
}
