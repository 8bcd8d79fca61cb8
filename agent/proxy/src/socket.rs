//! The sockets that the proxy opens, with every option that they need. Each is made in the namespace that the
//! calling thread is in and stays there.

use std::{io, net::SocketAddr, time::Duration};

use nix::{errno::Errno, sys::socket::sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use model::Marks;

/// The kernel cuts it down to `net.core.somaxconn` of the pod.
const BACKLOG: i32 = 4096;

/// What a socket towards an application of this node holds each way; the kernel doubles it for its own bookkeeping, and
/// cuts it down to `net.core.rmem_max` and `wmem_max`.
///
/// Over `lo` there is no distance to bridge: more would not be faster, and only be full where somebody does not read.
/// Left to itself the kernel grows it to megabytes, and what it may have for the TCP of the whole node is soon used
/// up by a few hundred such connections.
const LOCAL_BUFFER: usize = 256 << 10;

/// A listener for what the applications of this namespace dial. See [`inbound_listener`].
pub(crate) fn outbound_listener(addr: SocketAddr) -> io::Result<Socket> {
    let socket = inbound_listener(addr)?;
    // What is accepted inherits it.
    hold_little(&socket)?;
    Ok(socket)
}

/// A listener at `addr`, or at another port when the application has that one: steering does not care.
pub(crate) fn inbound_listener(addr: SocketAddr) -> io::Result<Socket> {
    let any_port = SocketAddr::new(addr.ip(), 0);
    match listener_at(addr) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => listener_at(any_port),
        result => result,
    }
}

fn listener_at(addr: SocketAddr) -> io::Result<Socket> {
    let socket = tcp(addr)?;
    // An accepted socket inherits this, and it holds the port that the client dialled in this namespace: an
    // application that comes to listen on the same number must not find it taken.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    // After the bind, so that a loopback interface without ::1 is found out.
    transparent(&socket, addr)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// A socket that reaches this namespace's application over `lo` and looks as if it were the client's at `from`.
pub(crate) fn delivery(marks: Marks, from: SocketAddr) -> io::Result<Socket> {
    named_delivery(marks, from, Some(b"lo"))
}

/// The same for a client that is the pod itself. The replies go to an address of the namespace, and for those
/// the kernel reports the interface that owns the address: a socket that is bound to `lo` would miss them.
pub(crate) fn delivery_to_itself(marks: Marks, from: SocketAddr) -> io::Result<Socket> {
    named_delivery(marks, from, None)
}

fn named_delivery(marks: Marks, from: SocketAddr, device: Option<&[u8]>) -> io::Result<Socket> {
    let socket = tcp(from)?;
    socket.set_reuse_address(true)?;
    transparent(&socket, from)?;
    socket.bind_device(device)?;
    socket.set_mark(marks.captured)?;
    hold_little(&socket)?;
    socket.bind(&from.into())?;
    Ok(socket)
}

/// A socket that leaves this namespace as one of the application's would: with the bits that the application
/// had in its mark, and bound to `from` if the application had bound that; or to a port of ours.
pub(crate) fn forward(
    marks: Marks,
    mark: u32,
    to: SocketAddr,
    from: Option<SocketAddr>,
) -> io::Result<Socket> {
    let socket = tcp(to)?;
    socket.set_mark(mark & !marks.captured | marks.agent)?;
    if let Some(from) = from {
        // The port is chosen at connect(), where only the whole 4-tuple has to be free.
        nix::sys::socket::setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        // So has one that is given here.
        socket.set_reuse_address(from.port() != 0)?;
        socket.bind(&from.into())?;
    }
    Ok(socket)
}

/// A datagram socket that is connected to a resolver, and leaves this namespace as one of the application's would.
pub(crate) fn query(marks: Marks, to: SocketAddr, from: Option<SocketAddr>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.set_mark(marks.agent)?;
    if let Some(from) = from {
        socket.bind(&from.into())?;
    }
    socket.connect(&to.into())?;
    Ok(socket)
}

/// Starts to connect.
pub(crate) fn connect(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => Ok(()),
        result => result,
    }
}

/// Has the kernel probe the other end once it has been silent for `idle`.
pub(crate) fn keep_alive(socket: &SockRef<'_>, idle: Duration) -> io::Result<()> {
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))
}

/// A non-blocking TCP socket with the options that all of ours have.
fn tcp(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // An accepted socket inherits all of these from its listener. For the first see `Stream`.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    // An urgent byte stays in its place among the others; else a read would leave it out.
    socket.set_out_of_band_inline(true)?;
    Ok(socket)
}

/// See [`LOCAL_BUFFER`].
fn hold_little(socket: &Socket) -> io::Result<()> {
    socket.set_recv_buffer_size(LOCAL_BUFFER)?;
    socket.set_send_buffer_size(LOCAL_BUFFER)
}

fn transparent(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    match addr {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}
