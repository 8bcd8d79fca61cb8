//! Many connections at once, to see what becomes of them and of others.

use std::{
    collections::BTreeMap,
    future::pending,
    io::{self, BufRead},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{interval, sleep, timeout},
};

use crate::say::{Failed, failed, milliseconds, name_of, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// An echo server
    addr: SocketAddr,
    #[arg(long)]
    connections: usize,
    /// How many are being opened at a time
    #[arg(long, default_value_t = 64)]
    at_a_time: usize,
    #[arg(long, value_enum, default_value_t = Conduct::Idle)]
    conduct: Conduct,
}

/// What the connections do once all are open.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Conduct {
    Idle,
    /// Exchange a byte every 50 ms
    Ping,
    /// Send a byte each second
    Trickle,
    /// Send all that is taken, and never read
    Deaf,
}

struct Crowd {
    streams: Vec<TcpStream>,
    failures: Failures,
}

#[derive(Default)]
struct Failures(BTreeMap<String, u64>);

type Result<T> = std::result::Result<T, (&'static str, io::Error)>;

/// Longer than a SYN is sent anew twice.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(args: &Args) -> std::result::Result<(), Failed> {
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed("runtime", start))?.block_on(converse(args, start));
    Ok(())
}

/// Opens them and tells how many stand; then for each line of standard input has all exchange a byte; at its end,
/// ends them.
async fn converse(args: &Args, start: Instant) {
    let mut lines = lines();
    let mut crowd = Crowd::assemble(args).await;
    crowd.say("standing", start);
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(_) => {
                    crowd.each(exchange).await;
                    crowd.say("exchanged", start);
                }
                None => break,
            },
            () = crowd.behave(args.conduct) => {
                // Here, where it is not broken off half-way.
                crowd.each(exchange).await;
            }
        }
    }
    if args.conduct == Conduct::Idle {
        crowd.each(end).await;
    }
    crowd.say("ended", start);
}

/// Standard input, which can only be read by waiting.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(io::Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn join(addr: SocketAddr) -> Result<TcpStream> {
    let connected = timeout(PATIENCE, TcpStream::connect(addr)).await;
    let stream = connected.unwrap_or_else(|late| Err(late.into())).map_err(|e| ("connect", e))?;
    exchange(stream).await
}

/// There and back: who can do that has been accepted by the server itself.
async fn exchange(mut stream: TcpStream) -> Result<TcpStream> {
    stream.write_all(b"!").await.map_err(|e| ("write", e))?;
    let read = timeout(PATIENCE, stream.read_u8()).await;
    read.unwrap_or_else(|late| Err(late.into())).map_err(|e| ("read", e))?;
    Ok(stream)
}

async fn end(mut stream: TcpStream) -> Result<TcpStream> {
    stream.shutdown().await.map_err(|e| ("shutdown", e))?;
    let rest = timeout(PATIENCE, stream.read(&mut [0])).await;
    match rest.unwrap_or_else(|late| Err(late.into())) {
        Ok(0) => Ok(stream),
        Ok(_) => Err(("close", io::ErrorKind::InvalidData.into())),
        Err(e) => Err(("close", e)),
    }
}

// === impl Crowd ===

impl Crowd {
    async fn assemble(args: &Args) -> Self {
        let joining = stream::iter(0..args.connections).map(|_| join(args.addr));
        let mut crowd = Self { streams: Vec::new(), failures: Failures::default() };
        crowd.collect(joining.buffer_unordered(args.at_a_time)).await;
        crowd
    }

    /// Does it with all; those with which it fails are dropped.
    async fn each<F: Future<Output = Result<TcpStream>>>(&mut self, act: impl FnMut(TcpStream) -> F) {
        let acting = stream::iter(std::mem::take(&mut self.streams)).map(act);
        self.collect(acting.buffer_unordered(64)).await;
    }

    async fn collect(&mut self, joined: impl stream::Stream<Item = Result<TcpStream>>) {
        let mut joined = std::pin::pin!(joined);
        while let Some(outcome) = joined.next().await {
            match outcome {
                Ok(stream) => self.streams.push(stream),
                Err((op, error)) => self.failures.count(op, &error),
            }
        }
    }

    /// Returns when it is time for each to exchange a byte.
    async fn behave(&self, conduct: Conduct) {
        match conduct {
            Conduct::Idle => pending().await,
            Conduct::Ping => sleep(Duration::from_millis(50)).await,
            Conduct::Trickle => self.trickle().await,
            Conduct::Deaf => self.shout().await,
        }
    }

    async fn trickle(&self) {
        let mut beat = interval(Duration::from_secs(1));
        loop {
            beat.tick().await;
            for stream in &self.streams {
                let _is_behind = stream.try_write(b"!");
                let _not_yet = stream.try_read(&mut [0; 64]);
            }
        }
    }

    async fn shout(&self) {
        let words = vec![b'!'; 64 << 10];
        let mut beat = interval(Duration::from_millis(100));
        loop {
            for stream in &self.streams {
                while stream.try_write(&words).is_ok() {}
            }
            beat.tick().await;
        }
    }

    fn say(&self, event: &str, start: Instant) {
        say(&json!({
            "event": event,
            "open": self.streams.len(),
            "failures": self.failures.0,
            "elapsed_ms": milliseconds(start.elapsed()),
        }));
    }
}

// === impl Failures ===

impl Failures {
    fn count(&mut self, op: &str, error: &io::Error) {
        *self.0.entry(format!("{op} {}", name_of(error))).or_default() += 1;
    }
}
