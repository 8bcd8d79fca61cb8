//! Which threads serve a pod.
//!
//! The kernel lets a thread that mostly sleeps run as soon as it wakes, and has one that always runs wait its turn. So
//! threads that one pod keeps running would let the connections of every pod wait, at each stage, however the work of
//! each is queued. A pod that takes more than its part of the threads is served in another lane, by other threads,
//! among those that do as it does, until it has been quiet for a while.
//!
//! A lane is a runtime, which hears of its sockets by itself. So a task changes lanes only where it says so, and
//! then hands its sockets over too.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::usage::{Clock, Usage};

#[derive(Debug)]
pub(crate) struct Lanes {
    calm: Handle,
    /// `None` only when it is being dropped.
    busy: Option<Runtime>,
}

/// Where one task runs: what accepts connections, or a connection.
#[derive(Debug)]
pub(crate) struct Place {
    lanes: Arc<Lanes>,
    usage: Arc<Usage>,
    is_busy: AtomicBool,
    is_changing: AtomicBool,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    place: Arc<Place>,
}

/// How far a task went.
enum Went {
    ToItsEnd,
    ToTheOtherLane,
}

// === impl Lanes ===

impl Lanes {
    /// # Panics
    /// Outside a tokio runtime, whose threads are those of the calm lane.
    pub(crate) fn new() -> io::Result<Self> {
        let threads = thread::available_parallelism()?.get();
        let busy = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("busy")
            .on_thread_start(take_short_turns)
            .enable_all()
            .build()?;
        Ok(Self { calm: Handle::current(), busy: Some(busy) })
    }

    /// For a task of the pod with this usage.
    pub(crate) fn place(self: &Arc<Self>, usage: &Arc<Usage>) -> Arc<Place> {
        Arc::new(Place {
            lanes: Arc::clone(self),
            usage: Arc::clone(usage),
            is_busy: AtomicBool::new(false),
            is_changing: AtomicBool::new(false),
        })
    }

    pub(crate) fn handles(&self) -> impl Iterator<Item = &Handle> {
        [Some(&self.calm), self.busy.as_ref().map(Runtime::handle)].into_iter().flatten()
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        // Its last owner may be one of its own tasks, which cannot wait for itself.
        if let Some(busy) = self.busy.take() {
            busy.shutdown_background();
        }
    }
}

// === impl Place ===

impl Place {
    /// For another task of the pod, in the same lane.
    pub(crate) fn beside(&self) -> Arc<Self> {
        Arc::new(Self {
            lanes: Arc::clone(&self.lanes),
            usage: Arc::clone(&self.usage),
            is_busy: AtomicBool::new(self.is_busy()),
            is_changing: AtomicBool::new(false),
        })
    }

    pub(crate) fn spawn(self: &Arc<Self>, future: impl Future<Output = ()> + Send + 'static) {
        Task { future: Box::pin(future), place: Arc::clone(self) }.spawn();
    }

    /// Whether the pod has its place in the other lane by now.
    pub(crate) fn is_stale(&self) -> bool {
        self.usage.is_busy(now()) != self.is_busy()
    }

    /// On return the task that called it runs in the other lane.
    pub(crate) async fn change(&self) {
        let mut changed = false;
        poll_fn(|_| {
            if changed {
                return Poll::Ready(());
            }
            changed = true;
            self.is_changing.store(true, Ordering::Relaxed);
            Poll::Pending
        })
        .await;
    }

    fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }

    fn lane(&self) -> &Handle {
        match &self.lanes.busy {
            Some(busy) if self.is_busy() => busy.handle(),
            _ => &self.lanes.calm,
        }
    }
}

// === impl Task ===

impl Task {
    fn spawn(mut self) {
        let lane = self.place.lane().clone();
        lane.spawn(async move {
            match poll_fn(|cx| self.go(cx)).await {
                Went::ToItsEnd => {}
                Went::ToTheOtherLane => self.spawn(),
            }
        });
    }

    fn go(&mut self, cx: &mut Context<'_>) -> Poll<Went> {
        let place = &self.place;
        let clock = place.usage.clock(now());
        let begun = clock.time();
        let poll = self.future.as_mut().poll(cx);
        place.usage.charge(now(), clock.time().saturating_sub(begun), clock);
        if poll.is_pending() && place.is_changing.swap(false, Ordering::Relaxed) {
            place.is_busy.fetch_not(Ordering::Relaxed);
            return Poll::Ready(Went::ToTheOtherLane);
        }
        poll.map(|()| Went::ToItsEnd)
    }
}

/// What always runs wakes nobody late, but with long turns it does let everybody wait for one.
fn take_short_turns() {
    if let Err(error) = timeslice::set(timeslice::SHORTEST) {
        tracing::debug!("asking for short turns: {error}; other pods may wait longer beside a busy one");
    }
}

// === impl Clock ===

impl Clock {
    fn time(self) -> Duration {
        match self {
            Self::Wall => now(),
            // It fails for clocks that do not exist; this one does.
            Self::Thread => {
                clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
            }
        }
    }
}

/// Since the first call.
fn now() -> Duration {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    FIRST.elapsed()
}

#[cfg(test)]
mod tests;
