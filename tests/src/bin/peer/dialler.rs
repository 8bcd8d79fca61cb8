//! A process that lives on and dials when it is told to, under any name: what a kubelet is, seen from a pod.
//!
//! Lines of standard input: `dial ADDR PORT` (from that source port; 0 for any), `ping TEXT`, `close`. The last two are
//! about the connection that was dialled last.

use std::{
    io::{self, BufRead, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Instant,
};

use nix::sys::prctl;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::say::{Failed, failed, milliseconds, name_of, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What it is called
    name: String,
}

pub(crate) fn run(args: &Args) -> Result<(), Failed> {
    let start = Instant::now();
    let failed = |op| failed(op, start);
    let name = std::ffi::CString::new(args.name.as_str()).map_err(|e| failed("name")(e.into()))?;
    prctl::set_name(&name).map_err(|e| failed("prctl")(e.into()))?;
    say(&json!({"event": "ready"}));
    let mut connection: Option<TcpStream> = None;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(failed("read"))?;
        let (order, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match order {
            "dial" => connection = dial(rest),
            "ping" => ping(connection.as_ref(), rest).map_err(failed("ping"))?,
            "close" => close(connection.take()).map_err(failed("close"))?,
            _ => return Err(failed("understand")(io::ErrorKind::InvalidInput.into())),
        }
    }
    Ok(())
}

fn dial(order: &str) -> Option<TcpStream> {
    let start = Instant::now();
    let dialled = connect(order).and_then(|stream| Ok((stream.local_addr()?, stream.peer_addr()?, stream)));
    let elapsed_ms = milliseconds(start.elapsed());
    match dialled {
        Ok((local, remote, stream)) => {
            say(&json!({"event": "connected", "local": local, "remote": remote, "elapsed_ms": elapsed_ms}));
            Some(stream)
        }
        Err(error) => {
            say(&json!({"event": "failed", "error": name_of(&error), "elapsed_ms": elapsed_ms}));
            None
        }
    }
}

fn connect(order: &str) -> io::Result<TcpStream> {
    let unknown = || io::Error::from(io::ErrorKind::InvalidInput);
    let (addr, port) = order.split_once(' ').ok_or_else(unknown)?;
    let addr: SocketAddr = addr.parse().map_err(|_| unknown())?;
    let port: u16 = port.parse().map_err(|_| unknown())?;
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    if port != 0 {
        let any: IpAddr =
            if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(any, port).into())?;
    }
    socket.connect(&addr.into())?;
    Ok(socket.into())
}

fn ping(connection: Option<&TcpStream>, text: &str) -> io::Result<()> {
    let mut stream = connection.ok_or(io::ErrorKind::NotConnected)?;
    stream.write_all(text.as_bytes())?;
    let mut echo = vec![0; text.len()];
    stream.read_exact(&mut echo)?;
    say(&json!({"event": "echoed", "text": String::from_utf8_lossy(&echo)}));
    Ok(())
}

/// Resets: no TIME_WAIT keeps the port, so that another may dial from it at once.
fn close(connection: Option<TcpStream>) -> io::Result<()> {
    let stream = connection.ok_or(io::ErrorKind::NotConnected)?;
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
    drop(stream);
    say(&json!({"event": "closed"}));
    Ok(())
}
