//! The sockets in a pod's namespace: one of each family takes the queries that are steered to it, whatever resolver they
//! are for; a raw one sends the replies, in the name of that resolver.
//!
//! No socket is bound to port 53, though that would be the plain way to reply from it: the pod may have a server of its
//! own that wants it.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
};

use model::canonical;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::UdpSocket};

use super::reply;

/// Istio's; another when the application has that one: steering does not care.
const QUERY_PORT: u16 = 15_053;
/// `raw(7)`: the IP header comes from us.
const IPPROTO_RAW: i32 = 255;

/// Those of one family, not listening to a runtime yet.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) queries: Socket,
    pub(crate) replies: Socket,
}

/// Those of one family, in use.
#[derive(Debug)]
pub(crate) struct Open {
    queries: UdpSocket,
    replies: Arc<Socket>,
}

/// A datagram that was steered here.
pub(super) struct Received {
    pub(super) length: usize,
    pub(super) client: SocketAddr,
    /// What the client sent it to.
    pub(super) resolver: SocketAddr,
}

// === impl Sockets ===

impl Sockets {
    /// In the namespace that the calling thread is in.
    pub(crate) fn open(loopback: IpAddr) -> io::Result<Self> {
        let any_port = SocketAddr::new(loopback, 0);
        let queries = match queries_at(SocketAddr::new(loopback, QUERY_PORT)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => queries_at(any_port)?,
            opened => opened?,
        };
        let raw = Some(Protocol::from(IPPROTO_RAW));
        let replies = Socket::new(Domain::for_address(any_port), Type::RAW.nonblocking(), raw)?;
        Ok(Self { queries, replies })
    }

    /// For the map that steers to it.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.queries.as_fd().try_clone_to_owned()
    }
}

fn queries_at(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    match addr {
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4OrigDstAddr, &true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6OrigDstAddr, &true)?;
        }
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

// === impl Open ===

impl Open {
    /// # Panics
    /// Outside a tokio runtime with IO.
    pub(super) fn new(sockets: Sockets) -> io::Result<Self> {
        let Sockets { queries, replies } = sockets;
        Ok(Self { queries: UdpSocket::from_std(queries.into())?, replies: Arc::new(replies) })
    }

    /// For use in the lane that the task has changed to.
    pub(super) fn moved(self) -> io::Result<Self> {
        let queries = UdpSocket::from_std(self.queries.into_std()?)?;
        Ok(Self { queries, ..self })
    }

    /// Waits until there is a query, or something else to hear of.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.queries.readable().await
    }

    /// The next query into `buffer`. `WouldBlock`: there is none.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        self.queries.try_io(Interest::READABLE, || receive(&self.queries, buffer))
    }

    pub(super) fn replies(&self) -> &Arc<Socket> {
        &self.replies
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = nix::cmsg_space!(SockaddrIn6);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let resolver = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4OrigDstAddr(addr) => Some(SocketAddr::V4(SockaddrIn::from(addr).into())),
        ControlMessageOwned::Ipv6OrigDstAddr(addr) => Some(SocketAddr::V6(SockaddrIn6::from(addr).into())),
        _ => None,
    });
    let client = message.address.and_then(|addr| {
        let v4 = addr.as_sockaddr_in().map(|addr| SocketAddr::V4((*addr).into()));
        v4.or_else(|| addr.as_sockaddr_in6().map(|addr| SocketAddr::V6((*addr).into())))
    });
    let length = message.bytes;
    // The kernel tells both, as it was asked to.
    let (resolver, client) = resolver.zip(client).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Received { length, client: canonical(client), resolver: canonical(resolver) })
}

/// Sends a reply in the name of `from`.
pub(super) fn send(replies: &Socket, from: SocketAddr, to: SocketAddr, message: &[u8]) -> io::Result<()> {
    send_packet(replies, to, &reply::packet(from, to, message)?)
}

/// Says in the name of `from` that nobody listens there.
pub(super) fn refuse(replies: &Socket, from: SocketAddr, to: SocketAddr) -> io::Result<()> {
    send_packet(replies, to, &reply::refusal(from, to)?)
}

fn send_packet(replies: &Socket, to: SocketAddr, packet: &[u8]) -> io::Result<()> {
    // The port of a raw socket's destination means nothing, and IPv6 wants none.
    replies.send_to(packet, &SocketAddr::new(to.ip(), 0).into()).map(drop)
}
