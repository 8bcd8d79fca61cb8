//! Copies a connection both ways, byte for byte.
//!
//! What one end does, the other sees: data, the end of data in one direction, a reset. Nothing is read before
//! there is room to write what was read before it, so a slow reader slows the writer and memory stays bounded.
//! Urgent data goes on as ordinary data, in its place.
//!
//! Why not splice(2): it was measured. It spares the proxy its copies, and the receiver's own then misses the caches that
//! they would have filled: one stream was as fast as with a copy, and eight were slower.

use std::{
    future::{Future, poll_fn},
    io::{self, Read},
    net::Shutdown,
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use nix::errno::Errno;
use socket2::{SockRef, Socket};
use tokio::{net::TcpStream, task::coop::unconstrained};

use super::End;
use crate::{
    buffer::{LARGEST, PodPool, SMALLEST},
    failure::Failure,
    meter::{Meter, Way},
    stream,
    turns::{Turn, Turns},
};

/// How a copy ended where no end broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// Both directions have ended.
    Whole,
    /// It may go on with the same sockets: nothing is held that was read and not written.
    Left,
}

/// Which directions have ended. Where both ends have finished, the kernel may have forgotten a connection already: its
/// end cannot be met again when the copy is taken up anew.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    sent: bool,
    received: bool,
}

/// Copies until both directions have ended, or one end broke off: then the caller resets the other. Is left as soon as
/// it may be and nothing is on the way.
pub(crate) async fn both_ways(
    client: &TcpStream,
    server: &TcpStream,
    pool: PodPool<'_>,
    turns: &Turns,
    meter: &Meter,
    ended: &mut Ended,
    may_leave: impl Fn() -> bool,
) -> Result<Copied, Failure> {
    let broken = &AtomicBool::new(false);
    let at_rest = [ended.sent, ended.received].map(AtomicBool::new);
    let [sent_at_rest, received_at_rest] = &at_rest;
    let (client_end, server_end) = ((End::Client, client), (End::Server, server));
    let sent = Pump {
        from: client_end,
        to: server_end,
        way: Way::Sent,
        pool,
        turns,
        meter,
        broken,
        at_rest: sent_at_rest,
    };
    let received = Pump {
        from: server_end,
        to: client_end,
        way: Way::Received,
        pool,
        turns,
        meter,
        broken,
        at_rest: received_at_rest,
    };
    // A pump takes turns by itself. With tokio's budget on top, the last look below might find nothing left.
    let mut sent = Direction { pump: pin!(unconstrained(sent.run())), done: ended.sent };
    let mut received = Direction { pump: pin!(unconstrained(received.run())), done: ended.received };
    let mut client_broken = pin!(broken_off(End::Client, client));
    let mut server_broken = pin!(broken_off(End::Server, server));

    poll_fn(|cx| {
        // Before more is read.
        if at_rest.iter().all(|at_rest| at_rest.load(Ordering::Relaxed)) && may_leave() {
            *ended = Ended { sent: sent.done, received: received.done };
            return Poll::Ready(Ok(Copied::Left));
        }
        let failure = sent
            .advance(cx)
            .or_else(|| received.advance(cx))
            // These notice a reset while both pumps wait for the other end.
            .or_else(|| ready(client_broken.as_mut().poll(cx)))
            .or_else(|| ready(server_broken.as_mut().poll(cx)));
        if let Some(failure) = failure {
            // What the broken end had sent before goes on as far as it goes without waiting: a server that
            // answers and resets is a common thing.
            broken.store(true, Ordering::Relaxed);
            let _too_late = (sent.advance(cx), received.advance(cx));
            return Poll::Ready(Err(failure));
        }
        if sent.done && received.done { Poll::Ready(Ok(Copied::Whole)) } else { Poll::Pending }
    })
    .await
}

/// One direction of the copy.
#[derive(Debug)]
struct Pump<'a> {
    from: (End, &'a TcpStream),
    to: (End, &'a TcpStream),
    way: Way,
    pool: PodPool<'a>,
    turns: &'a Turns,
    meter: &'a Meter,
    /// One of the ends is gone: no end of data may be announced any more. The first call that meets a reset
    /// takes the error away, and the next read sees what looks like an orderly end.
    broken: &'a AtomicBool,
    /// Whether all that was read is written.
    at_rest: &'a AtomicBool,
}

/// A pump as it is polled.
struct Direction<F> {
    pump: Pin<F>,
    done: bool,
}

// === impl Pump ===

impl Pump<'_> {
    /// Until the end of data has been passed on.
    async fn run(self) -> Result<(), Failure> {
        let mut size = SMALLEST;
        loop {
            // No buffer is held here, where most connections are most of the time.
            self.at_rest.store(true, Ordering::Relaxed);
            self.readable().await.map_err(self.broke(self.from.0))?;
            self.at_rest.store(false, Ordering::Relaxed);
            let mut buffer = self.pool.take(size);
            let mut turn = self.turns.begin();
            // A short read does not mean that nothing is left: it may have stopped at urgent data.
            while let Some(read) = self.read(&mut buffer).map_err(self.broke(self.from.0))? {
                if read == 0 {
                    self.at_rest.store(true, Ordering::Relaxed);
                    return self.end();
                }
                self.write_all(&buffer[..read], &mut turn).await.map_err(self.broke(self.to.0))?;
                size = next_size(size, buffer.len(), read);
                turn.count(read);
                let is_over = turn.is_over_before(1);
                if is_over || buffer.len() < size && read == buffer.len() {
                    // Nor is a buffer held by a stream that waits for its turn.
                    drop(buffer);
                    if is_over {
                        self.at_rest.store(true, Ordering::Relaxed);
                        self.next(&mut turn).await;
                        self.at_rest.store(false, Ordering::Relaxed);
                    }
                    buffer = self.pool.take(size);
                }
            }
            if self.is_broken() {
                return Ok(());
            }
        }
    }

    async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| if self.is_broken() { Poll::Ready(Ok(())) } else { self.from.1.poll_read_ready(cx) })
            .await
    }

    /// `None` when there is nothing to read now.
    fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let read = if self.is_broken() {
            // Past the runtime, which may not have heard yet of what has arrived.
            let from = SockRef::from(self.from.1);
            let mut from: &Socket = &from;
            from.read(buffer)
        } else {
            self.from.1.try_read(buffer)
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            result => result.map(Some),
        }
    }

    async fn write_all(&self, mut bytes: &[u8], turn: &mut Turn<'_>) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.to.1.try_write(bytes) {
                Ok(written) => {
                    self.meter.count(self.way, written);
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    turn.pass();
                    self.to.1.writable().await?;
                    if turn.is_over_before(bytes.len()) {
                        self.next(turn).await;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for another turn, unless nothing is to be waited for any more.
    async fn next(&self, turn: &mut Turn<'_>) {
        let mut next = pin!(turn.next());
        poll_fn(|cx| if self.is_broken() { Poll::Ready(()) } else { next.as_mut().poll(cx) }).await;
    }

    fn end(&self) -> Result<(), Failure> {
        if self.is_broken() {
            return Ok(());
        }
        let result = match SockRef::from(self.to.1).shutdown(Shutdown::Write) {
            // Only a reset takes a connection away before both ends have finished.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(Errno::ECONNRESET.into()),
            result => result,
        };
        result.map_err(self.broke(self.to.0))
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn broke(&self, end: End) -> impl Fn(io::Error) -> Failure + use<> {
        move |source| Failure::Broken { end, source }
    }
}

/// Doubles while reads fill the buffer, halves when they leave three quarters of it empty.
fn next_size(size: usize, given: usize, read: usize) -> usize {
    if read == given {
        (given * 2).min(LARGEST)
    } else if read < given / 4 {
        (size / 2).max(SMALLEST)
    } else {
        size
    }
}

async fn broken_off(end: End, socket: &TcpStream) -> Failure {
    Failure::Broken { end, source: stream::broken(socket).await }
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

// === impl Direction ===

impl<F: Future<Output = Result<(), Failure>>> Direction<&mut F> {
    /// As far as it goes now; what broke, if anything did.
    fn advance(&mut self, cx: &mut Context<'_>) -> Option<Failure> {
        if self.done {
            return None;
        }
        let result = ready(self.pump.as_mut().poll(cx))?;
        self.done = true;
        result.err()
    }
}

#[cfg(test)]
mod tests;
