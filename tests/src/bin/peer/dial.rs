//! Clients.

use std::{
    io::{self, BufRead, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde_json::{Value, json};
use socket2::SockRef;

use crate::{
    pattern::{self, Check},
    say::{Failed, failed, milliseconds, say},
};

mod connect;

#[derive(clap::Args)]
pub(crate) struct Args {
    addr: SocketAddr,
    /// What to do with the connection
    #[arg(long, value_enum, default_value_t = Mode::Hold)]
    mode: Mode,
    /// How much to send
    #[arg(long, default_value_t = 1 << 20)]
    bytes: u64,
    /// Pause between the bytes of a trickle
    #[arg(long, default_value_t = 1)]
    pause_ms: u64,
    /// Source address
    #[arg(long)]
    bind: Option<IpAddr>,
    /// Source port
    #[arg(long, default_value_t = 0)]
    bind_port: u16,
    /// `SO_BINDTODEVICE`
    #[arg(long)]
    device: Option<String>,
    /// `SO_MARK`
    #[arg(long)]
    mark: Option<u32>,
    /// An IPv6 socket to an IPv4 address, `::ffff:192.0.2.1`
    #[arg(long)]
    mapped: bool,
    /// How to connect
    #[arg(long, value_enum, default_value_t = How::Blocking)]
    how: How,
    /// Give up reading after so long
    #[arg(long, default_value_t = 60)]
    timeout_s: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Echo each line of standard input, until it ends
    Hold,
    /// Send the stream, end, and read what a sink reports
    Upload,
    /// Read a stream to its end
    Download,
    /// Send the stream and check its echo, both at once
    Echo,
    /// Send byte by byte, each only when the last has come back
    Trickle,
    /// Send a little, then reset
    Reset,
    /// End our direction at once, then read to the end
    HalfClose,
}

#[derive(Clone, Copy, ValueEnum)]
enum How {
    Blocking,
    /// `connect` in progress, then poll
    Nonblocking,
    /// Multipath TCP
    Mptcp,
    /// `TCP_FASTOPEN_CONNECT`
    FastopenConnect,
    /// `sendto` with `MSG_FASTOPEN`
    FastopenSendto,
}

pub(crate) fn run(args: &Args) -> Result<(), Failed> {
    let start = Instant::now();
    let stream = connect::connect(args).map_err(failed("connect", start))?;
    let elapsed = start.elapsed();
    let ends = || Ok((stream.local_addr()?, stream.peer_addr()?));
    let (local, remote) = ends().map_err(failed("getpeername", start))?;
    say(&json!({
        "event": "connected",
        "local": local,
        "remote": remote,
        "elapsed_ms": milliseconds(elapsed),
    }));
    let timeout = Some(Duration::from_secs(args.timeout_s));
    stream.set_read_timeout(timeout).map_err(failed("setsockopt", start))?;
    if let How::FastopenSendto = args.how {
        // What went out with the SYN comes back first.
        echoed(&stream, connect::FIRST_BYTES).map_err(failed("read", start))?;
    }
    let outcome = converse(&stream, args).map_err(failed("converse", start))?;
    let mut last = json!({"event": "closed", "elapsed_ms": milliseconds(start.elapsed())});
    merge(&mut last, outcome);
    say(&last);
    Ok(())
}

fn converse(stream: &TcpStream, args: &Args) -> io::Result<Value> {
    match args.mode {
        Mode::Hold => {
            for line in io::stdin().lock().lines() {
                let line = line?;
                let echo = echoed_after(stream, format!("{line}\n").as_bytes())?;
                say(&json!({"event": "echoed", "text": echo.trim_end()}));
            }
            stream.shutdown(Shutdown::Write)?;
            read_to_end(stream)
        }
        Mode::Upload => {
            pattern::send(stream, args.bytes)?;
            stream.shutdown(Shutdown::Write)?;
            let mut text = String::new();
            (&*stream).read_to_string(&mut text)?;
            Ok(json!({"sent": args.bytes, "sink": serde_json::from_str::<Value>(&text)?}))
        }
        Mode::Download => {
            let mut check = Check::default();
            pattern::receive(stream, &mut check)?;
            Ok(report(&check))
        }
        Mode::Echo => echo(stream, args.bytes),
        Mode::Trickle => trickle(stream, args),
        Mode::Reset => {
            (&*stream).write_all(pattern::at(0, args.bytes))?;
            SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
            Ok(json!({}))
        }
        Mode::HalfClose => {
            stream.shutdown(Shutdown::Write)?;
            read_to_end(stream)
        }
    }
}

/// Both directions at once: neither end waits for the other to have said everything.
fn echo(stream: &TcpStream, bytes: u64) -> io::Result<Value> {
    let mut check = Check::default();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            pattern::send(stream, bytes)?;
            stream.shutdown(Shutdown::Write)
        });
        pattern::receive(stream, &mut check)?;
        sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(report(&check))
}

fn trickle(mut stream: &TcpStream, args: &Args) -> io::Result<Value> {
    stream.set_nodelay(true)?;
    let mut check = Check::default();
    for offset in 0..args.bytes {
        stream.write_all(pattern::at(offset, 1))?;
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        check.take(&byte);
        thread::sleep(Duration::from_millis(args.pause_ms));
    }
    Ok(report(&check))
}

fn report(check: &Check) -> Value {
    json!({"received": check.received, "intact": check.is_intact(), "first_wrong": check.first_wrong})
}

fn read_to_end(mut stream: &TcpStream) -> io::Result<Value> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(json!({"received": bytes.len(), "text": String::from_utf8_lossy(&bytes)}))
}

fn echoed_after(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<String> {
    stream.write_all(bytes)?;
    echoed(stream, bytes)
}

/// Reads as much as was sent.
fn echoed(mut stream: &TcpStream, sent: &[u8]) -> io::Result<String> {
    let mut back = vec![0; sent.len()];
    stream.read_exact(&mut back)?;
    Ok(String::from_utf8_lossy(&back).into_owned())
}

fn merge(event: &mut Value, more: Value) {
    if let (Value::Object(event), Value::Object(more)) = (event, more) {
        event.extend(more);
    }
}
