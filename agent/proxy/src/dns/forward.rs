//! A query goes on, from the pod's own namespace, to the one resolver that the pod asked: what keeps the pod from it, or
//! gives it answers of its own, goes on doing so. The reply comes back byte for byte but for the ID.

use std::{io, net::SocketAddr, os::fd::AsRawFd, time::Duration};

use nix::sys::socket::{MsgFlags, recv};
use tokio::{io::Interest, net::UdpSocket, time::timeout};

use super::{Query, datagram::with_buffer};
use crate::{pods::OpenPod, shared::Shared, socket};

/// What resolvers wait by default before they ask again (`resolv.conf(5)`, `timeout`).
const PATIENCE: Duration = Duration::from_secs(5);
/// The ID is the first two bytes of a message.
const ID: std::ops::Range<usize> = 0..2;

#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    #[error("cannot enter the pod's network namespace")]
    Netns(#[from] netns::Error),
    #[error("cannot ask the resolver")]
    Socket(#[from] io::Error),
    #[error("the resolver has not replied for {} s", PATIENCE.as_secs())]
    Silent,
}

// === impl ForwardError ===

impl ForwardError {
    /// Nobody listens at the resolver's address.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Socket(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

pub(super) async fn forward(shared: &Shared, pod: &OpenPod, query: &Query) -> Result<Vec<u8>, ForwardError> {
    match timeout(PATIENCE, ask(shared, pod, query)).await {
        Ok(reply) => reply,
        Err(_elapsed) => Err(ForwardError::Silent),
    }
}

async fn ask(shared: &Shared, pod: &OpenPod, query: &Query) -> Result<Vec<u8>, ForwardError> {
    // A socket for each, hence a port that nobody can foretell, and an ID likewise: who cannot see the query cannot
    // forge its reply (RFC 5452).
    let from = source(pod, query.client);
    let socket = pod.netns.run(|| socket::query(shared.config.marks, query.resolver, from))??;
    let mut asked = query.message.clone();
    let [high, low, ..] = getrandom::u32().map_err(io::Error::other)?.to_ne_bytes();
    asked[ID].copy_from_slice(&[high, low]);
    // At once: a new socket has room for it, and need not first be found writable.
    socket.send(&asked)?;
    let socket = UdpSocket::from_std(socket.into())?;
    let id = u16::from_be_bytes([high, low]);
    loop {
        // A refusal is no datagram: `UdpSocket::recv` would not wake for it.
        let receive = || receive(&socket, &asked, id);
        if let Some(mut reply) = socket.async_io(Interest::READABLE | Interest::ERROR, receive).await? {
            reply[ID].copy_from_slice(&query.message[ID]);
            return Ok(reply);
        }
    }
}

/// `None`: something else than the reply has come.
fn receive(socket: &UdpSocket, asked: &[u8], id: u16) -> io::Result<Option<Vec<u8>>> {
    with_buffer(|buffer| {
        let length = recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?;
        let message = &buffer[..length];
        Ok(::dns::is_reply_to(asked, id, message).then(|| message.to_vec()))
    })
}

/// The client's own address, where it chose one; else the kernel chooses, as it did for the client.
fn source(pod: &OpenPod, client: SocketAddr) -> Option<SocketAddr> {
    (!pod.addresses.contains(&client.ip())).then(|| SocketAddr::new(client.ip(), 0))
}
