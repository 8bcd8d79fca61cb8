//! Servers.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use harness::Mode;
use serde_json::json;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{
    pattern::{self, Check},
    say::{Failed, failed, name_of, say},
};

mod crowd;
mod http;

#[derive(clap::Args, Clone)]
pub(crate) struct Args {
    /// Where to listen; `[::]:PORT` takes IPv4 as well
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long, value_enum)]
    mode: Mode,
    /// What an HTTP server calls itself
    #[arg(long, default_value = "peer")]
    name: String,
    /// How much a source sends, and how much a resetting server reads first
    #[arg(long)]
    bytes: Option<u64>,
    /// Offer Multipath TCP
    #[arg(long)]
    mptcp: bool,
}

/// What the first to speak says.
const GREETING: &[u8] = b"220 ready\r\n";

pub(crate) fn run(args: Args) -> Result<(), Failed> {
    let listener = listen(&args).map_err(failed("listen", Instant::now()))?;
    let address = listener.local_addr().map_err(failed("getsockname", Instant::now()))?;
    say(&json!({"event": "ready", "address": address}));
    if let Mode::Http = args.mode {
        return http::serve(listener, args.name).map_err(failed("serve", Instant::now()));
    }
    if let Mode::Crowd = args.mode {
        return crowd::serve(listener).map_err(failed("serve", Instant::now()));
    }
    loop {
        let (stream, client) = listener.accept().map_err(failed("accept", Instant::now()))?;
        let args = args.clone();
        thread::spawn(move || converse(&stream, client, &args));
    }
}

fn listen(args: &Args) -> io::Result<TcpListener> {
    let protocol = if args.mptcp { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(args.listen), Type::STREAM, Some(protocol))?;
    socket.set_reuse_address(true)?;
    if args.listen.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if let Mode::SlowRead = args.mode {
        // So that the sender feels it soon.
        socket.set_recv_buffer_size(4 << 10)?;
    }
    socket.bind(&args.listen.into())?;
    socket.listen(4_096)?;
    Ok(socket.into())
}

fn converse(stream: &TcpStream, client: SocketAddr, args: &Args) {
    let local = stream.local_addr().map(canonical).ok();
    say(&json!({"event": "accepted", "client": canonical(client), "local": local}));
    let mut check = Check::default();
    let ended = answer(stream, args, &mut check);
    say(&json!({
        "event": "closed",
        "client": canonical(client),
        "received": check.received,
        "intact": check.is_intact(),
        "error": ended.err().as_ref().map(name_of),
    }));
}

fn answer(stream: &TcpStream, args: &Args, check: &mut Check) -> io::Result<()> {
    match args.mode {
        Mode::Echo => echo(stream, check),
        Mode::Hello => {
            (&*stream).write_all(GREETING)?;
            echo(stream, check)
        }
        Mode::Sink => {
            pattern::receive(stream, check)?;
            let report = json!({"received": check.received, "intact": check.is_intact()});
            writeln!(&*stream, "{report}")
        }
        Mode::Source => {
            pattern::send(stream, args.bytes.unwrap_or(64 << 20))?;
            stream.shutdown(Shutdown::Write)?;
            pattern::receive(stream, check)
        }
        Mode::Reset => {
            let first = args.bytes.unwrap_or(1);
            pattern::receive(Read::take(stream, first), check)?;
            // Closing with a linger time of nothing sends a reset instead of a FIN.
            SockRef::from(stream).set_linger(Some(Duration::ZERO))
        }
        Mode::SlowRead => slow_read(stream, check),
        Mode::HalfClose => {
            (&*stream).write_all(GREETING)?;
            stream.shutdown(Shutdown::Write)?;
            pattern::receive(stream, check)
        }
        // These have a runtime of their own.
        Mode::Http | Mode::Crowd => Ok(()),
    }
}

fn echo(mut stream: &TcpStream, check: &mut Check) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => {
                check.take(&buffer[..n]);
                stream.write_all(&buffer[..n])?;
            }
        }
    }
}

/// About a megabyte per second.
fn slow_read(mut stream: &TcpStream, check: &mut Check) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 10];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => check.take(&buffer[..n]),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// A dual-stack listener sees `::ffff:192.0.2.1`; nobody who reads this cares.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}
