//! Many short connections, one after the other, to see whether any of them is harmed by what is done meanwhile.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    pattern,
    say::{Failed, milliseconds, name_of, say},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// An echo server
    addr: SocketAddr,
    /// Connections at a time
    #[arg(long, default_value_t = 4)]
    workers: usize,
    /// Bytes that each sends and gets back
    #[arg(long, default_value_t = 64)]
    bytes: u64,
    /// How long each stays open between its bytes and its end
    #[arg(long, default_value_t = 0)]
    hold_ms: u64,
    /// Pause of a worker between two connections
    #[arg(long, default_value_t = 1)]
    pause_ms: u64,
    /// Stop after so many connections, instead of at the end of standard input
    #[arg(long)]
    count: Option<u64>,
    /// Connections per second of all workers together, as far as they can; instead of the pause
    #[arg(long)]
    rate: Option<u32>,
}

/// When to go on and when to stop, for all workers.
struct Pace<'a> {
    args: &'a Args,
    start: Instant,
    begun: AtomicU64,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Tally {
    durations: Vec<Duration>,
    /// How many ended well in each second since the start.
    each_second: Vec<u64>,
    failures: BTreeMap<String, u64>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failed> {
    let start = Instant::now();
    let pace = Pace { args, start, begun: AtomicU64::new(0), stop: AtomicBool::new(false) };
    say(&json!({"event": "ready", "address": args.addr}));
    let mut all = Tally::default();
    thread::scope(|scope| {
        let work = || worker(&pace);
        let workers: Vec<_> = (0..args.workers).map(|_| scope.spawn(work)).collect();
        if args.count.is_none() {
            // The end of standard input is the signal to stop; what is written there does not matter.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            pace.stop.store(true, Ordering::Relaxed);
        }
        for worker in workers {
            all.add(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    all.say(start.elapsed());
    Ok(())
}

fn worker(pace: &Pace<'_>) -> Tally {
    let mut tally = Tally::default();
    while let Some(start) = pace.next() {
        match once(pace.args) {
            Ok(()) => tally.succeeded(start.elapsed(), pace.start.elapsed()),
            Err((op, error)) => {
                *tally.failures.entry(format!("{op} {}", name_of(&error))).or_default() += 1;
            }
        }
    }
    tally
}

/// One connection; on failure also which call it was.
fn once(args: &Args) -> Result<(), (&'static str, io::Error)> {
    const TIMEOUT: Duration = Duration::from_secs(20);
    let bytes = pattern::at(0, args.bytes);
    let mut stream = TcpStream::connect_timeout(&args.addr, TIMEOUT).map_err(|e| ("connect", e))?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(|e| ("setsockopt", e))?;
    stream.write_all(bytes).map_err(|e| ("write", e))?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).map_err(|e| ("read", e))?;
    if back != bytes {
        return Err(("compare", io::ErrorKind::InvalidData.into()));
    }
    thread::sleep(Duration::from_millis(args.hold_ms));
    stream.shutdown(std::net::Shutdown::Write).map_err(|e| ("shutdown", e))?;
    // The end of the server's side, and not a reset, closes it.
    stream.read_exact(&mut [0]).map_or_else(
        |e| if e.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(("close", e)) },
        |()| Err(("close", io::ErrorKind::InvalidData.into())),
    )
}

// === impl Pace ===

impl Pace<'_> {
    /// Waits until the next connection is due; `None` when there is to be no other. What is late counts from when
    /// it was due, so that a stall shows in all that waited for it.
    fn next(&self) -> Option<Instant> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        // Even a load that is stopped at once has tried.
        let is_first = number < self.args.workers as u64;
        let is_enough = self.args.count.is_some_and(|count| count <= number);
        if is_enough || !is_first && self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let Some(rate) = self.args.rate else {
            if !is_first {
                thread::sleep(Duration::from_millis(self.args.pause_ms));
            }
            return Some(Instant::now());
        };
        let due = self.start + Duration::from_secs_f64(number as f64 / f64::from(rate));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        Some(due)
    }
}

// === impl Tally ===

impl Tally {
    fn succeeded(&mut self, duration: Duration, at: Duration) {
        self.durations.push(duration);
        *self.at_second(usize::try_from(at.as_secs()).unwrap_or(usize::MAX)) += 1;
    }

    fn at_second(&mut self, second: usize) -> &mut u64 {
        if self.each_second.len() <= second {
            self.each_second.resize(second + 1, 0);
        }
        &mut self.each_second[second]
    }

    fn add(&mut self, other: Self) {
        let Self { durations, each_second, failures } = other;
        self.durations.extend(durations);
        for (second, count) in each_second.into_iter().enumerate() {
            *self.at_second(second) += count;
        }
        for (name, count) in failures {
            *self.failures.entry(name).or_default() += count;
        }
    }

    fn say(mut self, elapsed: Duration) {
        self.durations.sort_unstable();
        let at = |index: usize| self.durations.get(index).copied().map(milliseconds);
        say(&json!({
            "event": "load",
            "connections": self.durations.len(),
            "each_second": self.each_second,
            "failures": self.failures,
            "elapsed_ms": milliseconds(elapsed),
            "median_ms": at(self.durations.len() / 2),
            "p99_ms": at(self.durations.len() * 99 / 100),
            "slowest_ms": at(self.durations.len().saturating_sub(1)),
        }));
    }
}
