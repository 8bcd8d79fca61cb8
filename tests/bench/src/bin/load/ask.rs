//! DNS queries from one socket, one after the other or many at a time.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hickory_proto::{
    op::{Header, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
    serialize::binary::{BinDecodable, BinDecoder, EncodedSize},
};
use serde_json::json;

use crate::{client::say, latencies::Latencies};

/// On one machine a reply that takes so long has been lost, or its query.
const LOST_AFTER: Duration = Duration::from_secs(1);
/// Until it first answers: whoever was just started may take a moment.
const FIRST_TRIES: usize = 10;
/// Of a datagram.
const REPLY_MAX: usize = 1 << 16;
/// Where a message has its ID.
const ID: std::ops::Range<usize> = 0..2;

/// A query that differs from the next only in its ID.
#[derive(Debug)]
struct Asked {
    message: Vec<u8>,
}

/// The queries that wait for a reply.
#[derive(Debug)]
struct Waiting {
    /// When it was sent, by ID.
    since: Vec<Option<Instant>>,
    /// In the order in which they were sent; those that have their reply leave when they come first.
    order: VecDeque<u16>,
    count: usize,
    next: u16,
}

pub(crate) fn ask(addr: SocketAddr, name: &str, in_flight: usize, seconds: u64) -> Result<()> {
    ensure!((1..=usize::from(u16::MAX / 2)).contains(&in_flight), "{in_flight} in flight: IDs would not do");
    let any = if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(addr).with_context(|| format!("cannot connect to {addr}"))?;
    socket.set_read_timeout(Some(LOST_AFTER))?;
    let mut asked = Asked::new(name)?;
    let addresses = first(&socket, &mut asked).with_context(|| format!("asking {addr} for {name}"))?;

    let (mut latencies, mut lost) = (Latencies::default(), 0);
    let mut waiting = Waiting::default();
    let mut buffer = vec![0; REPLY_MAX];
    let begun = Instant::now();
    while begun.elapsed().as_secs() < seconds {
        while waiting.count < in_flight {
            let id = waiting.add(Instant::now());
            socket.send(asked.with_id(id))?;
        }
        if let Some(length) = receive(&socket, &mut buffer)? {
            let id = asked.id_of_reply(&buffer[..length])?;
            let now = Instant::now();
            // What was given up for lost may still come.
            if let Some(since) = waiting.take(id) {
                latencies.add(now - since);
            }
        }
        lost += waiting.forget(Instant::now());
    }
    let elapsed = begun.elapsed();
    say(&json!({
        "replies": latencies.count(),
        "lost": lost,
        "elapsed_s": elapsed.as_secs_f64(),
        "p50_us": latencies.percentile(50.0),
        "p99_us": latencies.percentile(99.0),
        "addresses": addresses,
    }));
    Ok(())
}

/// The addresses of the first reply, which is read as a whole.
fn first(socket: &UdpSocket, asked: &mut Asked) -> Result<Vec<Ipv4Addr>> {
    let mut buffer = vec![0; REPLY_MAX];
    for _ in 0..FIRST_TRIES {
        socket.send(asked.with_id(0))?;
        let Some(length) = receive(socket, &mut buffer)? else { continue };
        asked.id_of_reply(&buffer[..length])?;
        let reply = Message::from_vec(&buffer[..length])?;
        let addresses = reply.answers.iter().filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        });
        return Ok(addresses.collect());
    }
    anyhow::bail!("no reply to {FIRST_TRIES} queries")
}

/// `None`: nothing has come in time.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Result<Option<usize>> {
    match socket.recv(buffer) {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error).context("cannot receive a reply"),
    }
}

// === impl Asked ===

impl Asked {
    fn new(name: &str) -> Result<Self> {
        let mut host = Name::from_ascii(name).with_context(|| format!("{name} is no name"))?;
        host.set_fqdn(true);
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(host, RecordType::A));
        Ok(Self { message: message.to_vec()? })
    }

    fn with_id(&mut self, id: u16) -> &[u8] {
        self.message[ID].copy_from_slice(&id.to_be_bytes());
        &self.message
    }

    /// An error if it does not answer the question: a rate of failures is none.
    fn id_of_reply(&self, reply: &[u8]) -> Result<u16> {
        let Header { metadata, counts } = Header::read(&mut BinDecoder::new(reply))?;
        let question = Header::LEN..self.message.len();
        ensure!(
            metadata.message_type == MessageType::Response
                && metadata.response_code == ResponseCode::NoError
                && counts.queries == 1
                && 0 < counts.answers
                && reply.get(question.clone()) == self.message.get(question),
            "this is no answer: {metadata:?}, {counts:?}"
        );
        Ok(metadata.id)
    }
}

// === impl Waiting ===

impl Waiting {
    /// The ID of one more. There must not be one for every ID yet.
    fn add(&mut self, now: Instant) -> u16 {
        while self.since[usize::from(self.next)].is_some() {
            self.next = self.next.wrapping_add(1);
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        self.since[usize::from(id)] = Some(now);
        self.order.push_back(id);
        self.count += 1;
        id
    }

    /// Since when the one with this ID has waited, if it has.
    fn take(&mut self, id: u16) -> Option<Instant> {
        let since = self.since[usize::from(id)].take()?;
        self.count -= 1;
        Some(since)
    }

    /// Gives up those that have waited too long; how many.
    fn forget(&mut self, now: Instant) -> u64 {
        let mut lost = 0;
        while let Some(&id) = self.order.front() {
            match self.since[usize::from(id)] {
                Some(since) if now.saturating_duration_since(since) < LOST_AFTER => break,
                Some(_) => {
                    self.take(id);
                    lost += 1;
                }
                None => {}
            }
            self.order.pop_front();
        }
        lost
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self { since: vec![None; 1 << 16], order: VecDeque::new(), count: 0, next: 0 }
    }
}

#[cfg(test)]
mod tests;
