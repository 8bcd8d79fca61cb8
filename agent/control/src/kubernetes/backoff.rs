//! How long to wait between tries. With jitter: an API server that comes back meets all its agents.

use std::time::Duration;

use tokio::time::sleep;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

// === impl Backoff ===

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Waits, and at least as long as the API server asks for.
    pub(super) async fn wait(&mut self, asked: Option<Duration>) {
        let pause = self.step(fastrand::f64());
        sleep(pause.max(asked.unwrap_or_default())).await;
    }

    /// Between half of the present pause and the whole; the next is twice as long.
    fn step(&mut self, random: f64) -> Duration {
        let pause = self.next.mul_f64(0.5 + random / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, LONGEST};

    #[test]
    fn pauses_grow_to_a_limit_and_are_never_all_the_same() {
        let mut backoff = Backoff::new();
        let first = backoff.step(0.0);
        for random in [0.0, 0.5, 0.99] {
            let before = backoff.next;
            let pause = backoff.step(random);
            assert!(before / 2 <= pause && pause <= before, "{pause:?} of {before:?}");
        }
        for _ in 0..100 {
            backoff.step(0.5);
        }
        assert!(backoff.step(0.999) <= LONGEST);
        backoff.reset();
        assert_eq!(backoff.step(0.0), first);
    }
}
