//! PURE. A reply as a packet.

use std::{io, net::SocketAddr};

use etherparse::PacketBuilder;

/// What Linux sends by default (`net.ipv4.ip_default_ttl`); it goes over `lo` alone.
const TTL: u8 = 64;
/// Of the headers, at most.
const HEADERS: usize = 48;

/// A datagram from one address to the other, with its IP header.
///
/// # Errors
/// Where the families differ, or the message is longer than a datagram can be.
pub(super) fn packet(from: SocketAddr, to: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let ip = match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), TTL)
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            PacketBuilder::ipv6(from.ip().octets(), to.ip().octets(), TTL)
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let mut packet = Vec::with_capacity(HEADERS + message.len());
    ip.udp(from.port(), to.port()).write(&mut packet, message).map_err(io::Error::other)?;
    Ok(packet)
}

#[cfg(test)]
mod tests;
