//! Carries an application's wish for TCP keepalive across the proxy.
//!
//! A probe that an application's kernel sends is answered by the proxy's kernel and goes no further, so the
//! idle connection beyond would be forgotten by whatever needs to see traffic on it. The options of somebody
//! else's socket cannot be read, but `inet_diag` shows which timer it is running.

use std::{convert::Infallible, future::pending, io, net::SocketAddr, sync::Arc, time::Duration};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_ESTABLISHED},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, Timer},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};
use socket2::SockRef;

use crate::{end::End, meter::Meter, pods::OpenPod, socket};

/// The index of `lo` in every network namespace; what reaches an application by way of us comes over it.
const LOOPBACK: u32 = 1;

/// An application's own socket, at the other end of one of ours.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) pod: Arc<OpenPod>,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Our socket that faces the opposite end: what the application would probe if we were not there.
    pub(crate) far: End,
}

/// Has the far sockets keep alive what the applications keep alive.
///
/// Asks when the connection has first been idle for `after`, then for twice that and so on: an application may
/// set the option at any time, and one that is never idle for longer has no need of it.
pub(crate) async fn copy_intent<'a>(
    after: Option<Duration>,
    meter: &Meter,
    applications: &mut Vec<Application>,
    facing: impl Fn(End) -> SockRef<'a>,
) -> Infallible {
    let Some(after) = after.filter(|after| !after.is_zero()) else { return pending().await };
    let mut limit = after;
    while !applications.is_empty() {
        meter.idle_for(limit).await;
        let idle = meter.idle();
        applications.retain(|application| !application.asked(idle, &facing));
        limit = limit.saturating_mul(2);
    }
    pending().await
}

// === impl Application ===

impl Application {
    /// Whether there is nothing more to ask.
    fn asked<'a>(&self, idle: Duration, facing: impl Fn(End) -> SockRef<'a>) -> bool {
        let answer = self.keepalive_left().and_then(|left| match left {
            Some(left) => socket::keep_alive(&facing(self.far), whole_seconds(idle + left)).map(|()| true),
            None => Ok(false),
        });
        answer.unwrap_or_else(|error| {
            tracing::debug!(pod = %self.pod.name, %error, "Cannot copy the keepalive of a connection");
            true
        })
    }

    /// When the application's kernel will send its next probe, if it is going to.
    pub(crate) fn keepalive_left(&self) -> io::Result<Option<Duration>> {
        // The socket is asked and answered at once, within the namespace that it was made in.
        let socket = self.pod.netns.run(|| Socket::new(NETLINK_SOCK_DIAG)).map_err(io::Error::other)??;
        socket.set_non_blocking(true)?;
        let request = request(self.local, self.remote);
        socket.send(&request, 0)?;
        let (answer, _) = socket.recv_from_full()?;
        let answer = NetlinkMessage::deserialize(&answer).map_err(io::Error::other)?;
        Ok(match answer.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => expiry(&socket),
            // Closed meanwhile.
            _ => None,
        })
    }
}

/// Asks for the one socket with these addresses.
fn request(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let request = InetRequest {
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_address: local.ip(),
            source_port: local.port(),
            destination_address: remote.ip(),
            destination_port: remote.port(),
            // Matches sockets that are bound to it and those that are bound to none.
            interface_id: LOOPBACK,
            // Any: INET_DIAG_NOCOOKIE.
            cookie: [0xff; 8],
        },
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn expiry(socket: &InetResponse) -> Option<Duration> {
    match socket.header.timer {
        // The look-up falls back to a listener of the port when the connection is gone.
        Some(Timer::KeepAlive(left)) if socket.header.state == TCP_ESTABLISHED => Some(left),
        _ => None,
    }
}

/// What `TCP_KEEPIDLE` takes.
fn whole_seconds(time: Duration) -> Duration {
    let rounded = (time + Duration::from_millis(500)).as_secs();
    Duration::from_secs(rounded.clamp(1, 32_767))
}

#[cfg(test)]
mod tests;
