//! All the ways to open a TCP connection.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Args, How};

/// What a fast open sends along with its SYN.
pub(super) const FIRST_BYTES: &[u8] = b"first\n";

pub(super) fn connect(args: &Args) -> io::Result<TcpStream> {
    let remote = if args.mapped { mapped(args.addr) } else { args.addr };
    let protocol = match args.how {
        How::Mptcp => Protocol::MPTCP,
        How::Blocking | How::Nonblocking | How::FastopenConnect | How::FastopenSendto => Protocol::TCP,
    };
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(protocol))?;
    bind(&socket, remote, args)?;
    match args.how {
        How::Blocking | How::Mptcp => socket.connect(&remote.into())?,
        How::Nonblocking => connect_nonblocking(&socket, remote, Duration::from_secs(args.timeout_s))?,
        How::FastopenConnect => {
            setsockopt(&socket, sockopt::TcpFastOpenConnect, &true)?;
            socket.connect(&remote.into())?;
        }
        How::FastopenSendto => {
            socket.send_to_with_flags(FIRST_BYTES, &remote.into(), libc::MSG_FASTOPEN)?;
        }
    }
    Ok(socket.into())
}

fn bind(socket: &Socket, remote: SocketAddr, args: &Args) -> io::Result<()> {
    if let Some(device) = &args.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if let Some(mark) = args.mark {
        socket.set_mark(mark)?;
    }
    if args.bind.is_none() && args.bind_port == 0 {
        return Ok(());
    }
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(args.bind.unwrap_or(any), args.bind_port).into())
}

fn connect_nonblocking(socket: &Socket, remote: SocketAddr, timeout: Duration) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    match socket.connect(&remote.into()) {
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
        done => return done,
    }
    let deadline = Instant::now() + timeout;
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    let left = deadline.saturating_duration_since(Instant::now());
    if poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))? == 0 {
        return Err(Errno::ETIMEDOUT.into());
    }
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    socket.set_nonblocking(false)
}

fn mapped(addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), addr.port()),
        IpAddr::V6(_) => addr,
    }
}
