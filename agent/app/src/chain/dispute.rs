//! Repairing what somebody else rewrites, at once when it happens and ever more slowly when it goes on. PURE.

use std::time::Duration;

use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Twice the longest pause: what has lasted so long is not overwritten any more.
const PEACE: Duration = Duration::from_secs(60);

/// A network plugin that is installed or upgraded writes its file once or twice.
const NO_ACCIDENT: u32 = 3;

/// The repairs in a row.
#[derive(Debug, Default)]
pub(super) struct Dispute {
    times: u32,
    last: Option<Instant>,
}

// === impl Dispute ===

impl Dispute {
    /// How long to look away.
    pub(super) fn after(&mut self, repaired: bool, now: Instant) -> Duration {
        if self.last.is_some_and(|last| PEACE <= now.saturating_duration_since(last)) {
            *self = Self::default();
        }
        if !repaired {
            return Duration::ZERO;
        }
        self.times = self.times.saturating_add(1);
        self.last = Some(now);
        match self.times.checked_sub(2) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        NO_ACCIDENT <= self.times
    }

    pub(super) fn times(&self) -> u32 {
        self.times
    }
}

#[cfg(test)]
mod tests;
