//! A name server that knows one address, and gives it to every name: over UDP and over TCP.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Instant,
};

use serde_json::json;

use crate::say::{Failed, failed, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to listen; `[::]:PORT` takes IPv4 as well
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    answer: Ipv4Addr,
}

const HEADER: usize = 12;
/// It is a response, the last word on the name, and recursion was neither refused nor needed (RFC 1035, 4.1.1).
const FLAGS: [u8; 2] = [0x85, 0x80];
/// Type A, class IN.
const A: [u8; 4] = [0, 1, 0, 1];
/// The name that was asked for, as a pointer to the question.
const SAME_NAME: [u8; 2] = [0xc0, 12];
const TTL: [u8; 4] = [0, 0, 0, 60];

pub(crate) fn run(args: &Args) -> Result<(), Failed> {
    let start = Instant::now();
    let listener = TcpListener::bind(args.listen).map_err(failed("listen", start))?;
    let socket = UdpSocket::bind(args.listen).map_err(failed("bind", start))?;
    say(&json!({"event": "ready", "address": args.listen}));
    let address = args.answer;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // How a client ends is its own business.
            thread::spawn(move || converse(stream, address));
        }
    });
    let mut query = [0; 512];
    loop {
        let (length, client) = socket.recv_from(&mut query).map_err(failed("recvfrom", start))?;
        if let Some(response) = respond(&query[..length], address) {
            // A client that is gone needs no answer.
            let _ = socket.send_to(&response, client);
        }
    }
}

/// Each message has its length before it (RFC 1035, 4.2.2).
fn converse(mut stream: TcpStream, address: Ipv4Addr) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query)?;
        let response = respond(&query, address).ok_or(io::ErrorKind::InvalidData)?;
        let length = u16::try_from(response.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &response].concat())?;
    }
}

/// `None` where there is no question. To what is not about an address of IPv4 there is no answer.
fn respond(query: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let mut end = HEADER;
    while *query.get(end)? != 0 {
        end += 1 + usize::from(query[end]);
    }
    end += 1;
    let kind = query.get(end..end + A.len())?;
    let question = &query[HEADER..end + A.len()];
    let answers = u8::from(kind == A);
    let mut response = [&query[..2], &FLAGS, &[0, 1, 0, answers, 0, 0, 0, 0], question].concat();
    if kind == A {
        response.extend([&SAME_NAME[..], &A, &TTL, &[0, 4], &address.octets()].concat());
    }
    Some(response)
}
