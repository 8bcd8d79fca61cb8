//! PURE. A reply as a packet, and that there will be none.

use std::{io, net::SocketAddr};

use etherparse::{Icmpv4Type, Icmpv6Type, IpHeaders, PacketBuilder, PacketBuilderStep, icmpv4, icmpv6};

/// What Linux sends by default (`net.ipv4.ip_default_ttl`); it goes over `lo` alone.
const TTL: u8 = 64;
/// Of the headers, at most.
const HEADERS: usize = 48;

/// A datagram from one address to the other, with its IP header.
///
/// # Errors
/// Where the families differ, or the message is longer than a datagram can be.
pub(super) fn packet(from: SocketAddr, to: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut packet = Vec::with_capacity(HEADERS + message.len());
    let udp = ip(from, to)?.udp(from.port(), to.port());
    udp.write(&mut packet, message).map_err(io::Error::other)?;
    Ok(packet)
}

/// What the host of `from` says to `to`, which has sent it a datagram, if nobody has that port (RFC 792; RFC 4443, 3.1).
///
/// # Errors
/// Where the families differ.
pub(super) fn refusal(from: SocketAddr, to: SocketAddr) -> io::Result<Vec<u8>> {
    // Its headers are all that anybody reads of it.
    let datagram = packet(to, from, &[])?;
    let mut refusal = Vec::with_capacity(HEADERS + datagram.len());
    let ip = ip(from, to)?;
    let written = if from.is_ipv4() {
        let kind = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port);
        ip.icmpv4(kind).write(&mut refusal, &datagram)
    } else {
        let kind = Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port);
        ip.icmpv6(kind).write(&mut refusal, &datagram)
    };
    written.map_err(io::Error::other)?;
    Ok(refusal)
}

fn ip(from: SocketAddr, to: SocketAddr) -> io::Result<PacketBuilderStep<IpHeaders>> {
    match (from, to) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            Ok(PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), TTL))
        }
        (SocketAddr::V6(from), SocketAddr::V6(to)) => {
            Ok(PacketBuilder::ipv6(from.ip().octets(), to.ip().octets(), TTL))
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests;
