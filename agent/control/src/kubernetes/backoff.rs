//! How long to wait between tries. With jitter: an API server that comes back meets all its agents.

use std::{sync::Arc, time::Duration};

use tokio::{
    select,
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// The pauses of one watch.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    reached: Reached,
}

/// Tells all watches that one of them got through, so that the others need not wait to the end of their pauses.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached(Arc<Notify>);

// === impl Backoff ===

impl Backoff {
    pub(super) fn new(reached: &Reached) -> Self {
        Self { next: FIRST, reached: reached.clone() }
    }

    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Waits, at least as long as the API server asks for, and never less than the shortest pause.
    pub(super) async fn wait(&mut self, asked: Option<Duration>) {
        let least = self.shortened().max(asked.unwrap_or_default());
        let end = Instant::now() + self.step(fastrand::f64()).max(least);
        sleep(least).await;
        select! {
            () = sleep_until(end) => {}
            () = self.reached.0.notified() => {}
        }
    }

    /// Between half of the present pause and the whole; the next is twice as long.
    fn step(&mut self, random: f64) -> Duration {
        let pause = self.next.mul_f64(0.5 + random / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        pause
    }

    fn shortened(&self) -> Duration {
        self.next.min(FIRST).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

// === impl Reached ===

impl Reached {
    pub(super) fn tell(&self) {
        self.0.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{task::yield_now, time::Instant};

    use super::{Backoff, FIRST, LONGEST, Reached};

    #[test]
    fn pauses_grow_to_a_limit_and_are_never_all_the_same() {
        let mut backoff = Backoff::new(&Reached::default());
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

    #[tokio::test(start_paused = true)]
    async fn one_that_got_through_ends_the_pauses_of_the_others() {
        let reached = Reached::default();
        let mut backoff = Backoff::new(&reached);
        backoff.next = LONGEST;
        let begun = Instant::now();
        let waiting = tokio::spawn(async move { backoff.wait(None).await });
        yield_now().await;
        tokio::time::sleep(2 * FIRST).await;
        reached.tell();
        waiting.await.unwrap();
        assert_eq!(begun.elapsed(), 2 * FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_hurried_beyond_what_the_api_server_asks() {
        let reached = Reached::default();
        let mut backoff = Backoff::new(&reached);
        let begun = Instant::now();
        let asked = Duration::from_secs(7);
        let waiting = tokio::spawn(async move { backoff.wait(Some(asked)).await });
        yield_now().await;
        reached.tell();
        waiting.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), asked.as_secs());
    }
}
