//! Clients.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::latencies::Latencies;

const MESSAGE: [u8; 64] = [7; 64];
/// What is written at once by a bulk stream.
const CHUNK: usize = 256 << 10;
/// Nothing takes that long but what is lost.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What came of the connections of one client.
#[derive(Default)]
struct Tally {
    latencies: Latencies,
    /// Connections that ended well, by the second that they ended in.
    by_second: Vec<u64>,
    failures: BTreeMap<String, u64>,
}

pub(crate) fn bulk(addr: SocketAddr, streams: usize, seconds: u64) -> Result<()> {
    let begun = Instant::now();
    let taken = at_once(streams, || send(addr, begun + Duration::from_secs(seconds)))?;
    let elapsed = begun.elapsed();
    let bytes: u64 = taken.iter().sum();
    say(&json!({"bytes": bytes, "elapsed_s": elapsed.as_secs_f64()}));
    Ok(())
}

/// Sends until then; how much the other end has taken.
fn send(addr: SocketAddr, until: Instant) -> io::Result<u64> {
    let mut stream = TcpStream::connect(addr)?;
    let chunk = vec![7; CHUNK];
    while Instant::now() < until {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut taken = [0; 8];
    stream.read_exact(&mut taken)?;
    Ok(u64::from_le_bytes(taken))
}

pub(crate) fn ping(addr: SocketAddr, seconds: u64, device: Option<&str>) -> Result<()> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.bind_device(device.map(str::as_bytes)).with_context(|| format!("cannot bind to {device:?}"))?;
    socket.connect(&addr.into()).with_context(|| format!("cannot connect to {addr}"))?;
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    let mut latencies = Latencies::default();
    let begun = Instant::now();
    while begun.elapsed().as_secs() < seconds {
        let sent = Instant::now();
        stream.write_all(&MESSAGE)?;
        stream.read_exact(&mut [0; MESSAGE.len()])?;
        latencies.add(sent.elapsed());
    }
    say(&json!({
        "pings": latencies.count(),
        "p50_us": latencies.percentile(50.0),
        "p99_us": latencies.percentile(99.0),
    }));
    Ok(())
}

pub(crate) fn connect(addr: SocketAddr, clients: usize, seconds: u64) -> Result<()> {
    let begun = Instant::now();
    let tallies = at_once(clients, || Ok(connect_until(addr, begun, seconds)))?;
    let mut all = Tally::default();
    for tally in tallies {
        all.merge(tally);
    }
    let elapsed = begun.elapsed();
    say(&json!({
        "connections": all.latencies.count(),
        "failures": all.failures,
        "elapsed_s": elapsed.as_secs_f64(),
        "p50_us": all.latencies.percentile(50.0),
        "p99_us": all.latencies.percentile(99.0),
        "by_second": all.by_second,
    }));
    Ok(())
}

fn connect_until(addr: SocketAddr, begun: Instant, seconds: u64) -> Tally {
    let mut tally = Tally { by_second: vec![0; usize::try_from(seconds).unwrap_or(0)], ..Tally::default() };
    while begun.elapsed().as_secs() < seconds {
        let start = Instant::now();
        match once(addr) {
            Ok(()) => {
                tally.latencies.add(start.elapsed());
                let second = usize::try_from(begun.elapsed().as_secs()).unwrap_or(usize::MAX);
                // The last one may end after the time is over.
                if let Some(count) = tally.by_second.get_mut(second) {
                    *count += 1;
                }
            }
            Err(error) => *tally.failures.entry(error.to_string()).or_default() += 1,
        }
    }
    tally
}

/// The server ends first, so that TIME_WAIT is at its side and never takes a port from this client.
fn once(addr: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(&MESSAGE)?;
    stream.read_exact(&mut [0; MESSAGE.len()])?;
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other("more than was sent")),
    }
}

pub(crate) fn idle(addr: SocketAddr, count: usize) -> Result<()> {
    let connecting = (0..count).map(|_| TcpStream::connect_timeout(&addr, TIMEOUT));
    let held: io::Result<Vec<_>> = connecting.collect();
    let mut held = held.with_context(|| format!("cannot connect to {addr}"))?;
    for stream in &mut held {
        // A connect says only that somebody accepted; this, that the server did.
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.read_exact(&mut [0]).context("the server never spoke")?;
    }
    println!("ready");
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    drop(held);
    Ok(())
}

/// The same in so many threads.
fn at_once<T: Send>(threads: usize, work: impl Fn() -> io::Result<T> + Sync) -> Result<Vec<T>> {
    let ended: io::Result<Vec<T>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().map(join).collect()
    });
    ended.context("a client failed")
}

pub(crate) fn say(result: &Value) {
    println!("{result}");
}

// === impl Tally ===

impl Tally {
    fn merge(&mut self, other: Self) {
        let Self { latencies, by_second, failures } = other;
        self.latencies.merge(&latencies);
        self.by_second.resize(self.by_second.len().max(by_second.len()), 0);
        for (sum, count) in self.by_second.iter_mut().zip(by_second) {
            *sum += count;
        }
        for (name, count) in failures {
            *self.failures.entry(name).or_default() += count;
        }
    }
}
