//! The TCP connections of a network namespace, listed and ended by way of `sock_diag`.
//!
//! Source: <https://man7.org/linux/man-pages/man7/sock_diag.7.html>, `linux/inet_diag.h`.

use std::{io, net::SocketAddr};

use model::canonical;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, Nla as _,
};
use netlink_packet_sock_diag::{
    SockDiagDestroy, SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_FIN_WAIT1, TCP_FIN_WAIT2},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};
use netns::Netns;
use nix::libc;

use crate::Error;

/// `INET_DIAG_CGROUP_ID`, Linux 5.7; the library does not know it.
const CGROUP_ID: u16 = 21;

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) mark: u32,
    /// The cgroup of the process that made the socket, or the listener that it came from.
    pub(crate) cgroup: u64,
    /// No process has it any more: the kernel is only saying goodbye.
    pub(crate) orphaned: bool,
    pub(crate) key: Key,
}

/// How the kernel finds the socket again, and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    family: u8,
    id: SocketId,
}

/// What came of ending a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Both ends have learnt of it.
    Now,
    /// It was gone already.
    Before,
}

/// A socket that is asked about the namespace in which it was made.
pub(crate) struct SockDiag(Socket);

// === impl SockDiag ===

impl SockDiag {
    pub(crate) fn open(netns: &Netns) -> Result<Self, Error> {
        netns.run(|| Socket::new(NETLINK_SOCK_DIAG))?.map(Self).map_err(failed("open a sock_diag socket"))
    }

    /// All that can still carry data, of both families.
    pub(crate) fn connections(&self) -> Result<Vec<Connection>, Error> {
        let mut connections = Vec::new();
        for family in [AF_INET, AF_INET6] {
            self.list(request(family), &mut connections).map_err(failed("list the connections"))?;
        }
        Ok(connections)
    }

    /// Listening sockets of both families.
    pub(crate) fn listening(&self) -> Result<Vec<Connection>, Error> {
        self.in_states(&StateFlags::LISTEN)
    }

    /// Established connections of both families.
    pub(crate) fn established(&self) -> Result<Vec<Connection>, Error> {
        self.in_states(&StateFlags::ESTABLISHED)
    }

    fn in_states(&self, states: &StateFlags) -> Result<Vec<Connection>, Error> {
        let mut found = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let request = InetRequest { states: states.clone(), ..request(family) };
            self.list(request, &mut found).map_err(failed("list sockets"))?;
        }
        Ok(found)
    }

    /// Resets a connection: the process that has it reads `ECONNABORTED`, the other end gets a RST.
    pub(crate) fn end(&self, connection: &Connection) -> Result<Ended, Error> {
        let Key { family, id } = connection.key.clone();
        let request = InetRequest { socket_id: id, ..request(family) };
        let answer = self.send(NLM_F_ACK, SockDiagDestroy::new(SockDiagMessage::InetRequest(request)));
        match answer.and_then(|()| self.acknowledged()) {
            Ok(()) => Ok(Ended::Now),
            Err(e) => match e.raw_os_error() {
                // ESTALE: another has taken its addresses.
                Some(libc::ENOENT | libc::ESTALE) => Ok(Ended::Before),
                _ => Err(failed("end a connection, which takes CONFIG_INET_DIAG_DESTROY in the kernel")(e)),
            },
        }
    }

    fn list(&self, request: InetRequest, connections: &mut Vec<Connection>) -> io::Result<()> {
        self.send(NLM_F_DUMP, SockDiagMessage::InetRequest(request))?;
        loop {
            let (bytes, _) = self.0.recv_from_full()?;
            for message in messages(&bytes) {
                match message?.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                        connections.push(Connection::read(*socket)?);
                    }
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    fn acknowledged(&self) -> io::Result<()> {
        let (bytes, _) = self.0.recv_from_full()?;
        match messages(&bytes).next().transpose()?.map(|message| message.payload) {
            Some(NetlinkPayload::Error(error)) if error.code.is_some() => Err(error.to_io()),
            Some(NetlinkPayload::Error(_)) => Ok(()),
            other => Err(io::Error::other(format!("instead of an acknowledgement: {other:?}"))),
        }
    }

    fn send<T: NetlinkSerializable>(&self, flags: u16, request: T) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0).map(drop)
    }
}

// === impl Connection ===

impl Connection {
    fn read(socket: InetResponse) -> io::Result<Self> {
        let InetResponse { header, nlas } = socket;
        let mark = nlas.iter().find_map(|nla| if let Nla::Mark(mark) = nla { Some(*mark) } else { None });
        let cgroup = nlas.iter().find(|nla| nla.kind() == CGROUP_ID).and_then(|nla| {
            let mut id = [0; 8];
            (nla.value_len() == id.len()).then(|| nla.emit_value(&mut id))?;
            Some(u64::from_ne_bytes(id))
        });
        // Without either, the proxy's own connections could not be told from the pod's.
        let missing = |what| io::Error::other(format!("the kernel does not tell the {what} of a socket"));
        let id = header.socket_id;
        Ok(Self {
            local: canonical(SocketAddr::new(id.source_address, id.source_port)),
            remote: canonical(SocketAddr::new(id.destination_address, id.destination_port)),
            mark: mark.ok_or_else(|| missing("mark"))?,
            cgroup: cgroup.ok_or_else(|| missing("cgroup"))?,
            // What waits to be accepted has no inode either, but cannot have been closed yet.
            orphaned: header.inode == 0 && [TCP_FIN_WAIT1, TCP_FIN_WAIT2].contains(&header.state),
            key: Key { family: header.family, id },
        })
    }
}

/// For all connections of a family that can still carry data.
fn request(family: u8) -> InetRequest {
    InetRequest {
        family,
        protocol: IPPROTO_TCP,
        // The mark and the cgroup come unasked.
        extensions: ExtensionFlags::empty(),
        states: StateFlags::SYN_SENT
            | StateFlags::ESTABLISHED
            | StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2
            | StateFlags::CLOSE_WAIT,
        socket_id: if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() },
    }
}

/// The messages of one datagram.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = io::Result<NetlinkMessage<SockDiagMessage>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let message = parse(bytes);
        // Each begins at a multiple of four.
        let length = message.as_ref().map_or(bytes.len(), |m| (m.header.length as usize).next_multiple_of(4));
        bytes = bytes.get(length..).unwrap_or_default();
        Some(message)
    })
}

fn parse<T: NetlinkDeserializable>(bytes: &[u8]) -> io::Result<NetlinkMessage<T>> {
    NetlinkMessage::deserialize(bytes).map_err(io::Error::other)
}

fn failed(op: &str) -> impl Fn(io::Error) -> Error {
    move |e| Error::Netlink { op: op.to_owned(), reason: e.to_string() }
}

#[cfg(test)]
impl Connection {
    /// For the tests of those who decide by what a connection is.
    pub(crate) fn between(local: SocketAddr, remote: SocketAddr) -> Self {
        let key = Key { family: AF_INET, id: SocketId::new_v4() };
        Self { local, remote, mark: 0, cgroup: 1, orphaned: false, key }
    }
}

#[cfg(test)]
mod tests;
