//! What is told to whoever started us.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use nix::errno::Errno;
use serde_json::{Value, json};

/// A system call that failed, and what it was for.
#[derive(Debug)]
pub(crate) struct Failed {
    op: &'static str,
    error: io::Error,
    elapsed: Duration,
}

/// A line of JSON. Nobody may be listening any more: that is no reason to stop serving.
pub(crate) fn say(event: &Value) {
    let _ = writeln!(io::stdout().lock(), "{event}");
}

/// `ECONNRESET` and the like.
pub(crate) fn name_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => format!("{:?}", Errno::from_raw(number)),
        None => error.kind().to_string(),
    }
}

/// Turns an error into one that says what failed, and how long that took.
pub(crate) fn failed(op: &'static str, since: Instant) -> impl Fn(io::Error) -> Failed {
    move |error| Failed { op, error, elapsed: since.elapsed() }
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

// === impl Failed ===

impl Failed {
    pub(crate) fn say(&self) {
        let Self { op, error, elapsed } = self;
        say(&json!({
            "event": "failed",
            "op": op,
            "error": name_of(error),
            "errno": error.raw_os_error(),
            "elapsed_ms": milliseconds(*elapsed),
        }));
    }
}
