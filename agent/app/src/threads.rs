//! The threads of the agent.

use std::{io, thread};

use tokio::runtime::{Builder, Runtime};

/// A pod has at most as many threads at work for its bulk traffic as there are processors. These are left for the
/// connections of others; which thread runs is then for the kernel to say, which is fair.
const MORE_THREADS: usize = 2;

/// What the agent runs on.
pub fn runtime() -> io::Result<Runtime> {
    let threads = thread::available_parallelism()?.get() + MORE_THREADS;
    Builder::new_multi_thread().worker_threads(threads).on_thread_start(run_soon).enable_all().build()
}

/// Each connection waits several times for a thread to wake. What takes long is done by other threads: see the lanes
/// of `proxy`.
fn run_soon() {
    if let Err(error) = timeslice::set(timeslice::SHORTEST) {
        tracing::debug!(%error, "Cannot ask for short time slices; connections may wait longer on a busy node");
    }
}
