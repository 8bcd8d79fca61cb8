//! Packet sockets, and frames to send by them: what a program with `NET_RAW` can put on the wire past the kernel's TCP.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
};

use anyhow::{Context, Result};
use nix::{errno::Errno, libc, net::if_::if_nametoindex};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Place;

/// A packet socket on one interface.
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
    ifindex: libc::c_int,
}

/// An Ethernet frame.
#[derive(Clone, Debug)]
pub struct Frame(Vec<u8>);

type Mac = [u8; 6];

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_FRAGMENT: u8 = 44;
const SYN: u8 = 0x02;

// === impl PacketSocket ===

impl PacketSocket {
    pub fn open(place: &Place, interface: &str) -> Result<Self> {
        let open = || -> io::Result<Self> {
            let ifindex = if_nametoindex(interface)?.cast_signed();
            // Protocol 0: it sends, and hears nothing.
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
            Ok(Self { socket, ifindex })
        };
        place.exec(open)?.with_context(|| format!("no packet socket on {interface} of {}", place.name()))
    }

    /// `PACKET_QDISC_BYPASS`: what it sends meets no egress hook.
    pub fn bypass_qdisc(&self) -> nix::Result<()> {
        self.set(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &1_i32.to_ne_bytes())
    }

    /// Any option with any value.
    pub fn set(&self, level: i32, option: i32, value: &[u8]) -> nix::Result<()> {
        let length = value.len() as libc::socklen_t;
        let fd = self.socket.as_raw_fd();
        // SAFETY: `value` is `length` bytes that the kernel only reads.
        let done = unsafe { libc::setsockopt(fd, level, option, value.as_ptr().cast(), length) };
        Errno::result(done).map(drop)
    }

    pub fn send(&self, frame: &Frame) -> nix::Result<()> {
        let to = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: u16::from_ne_bytes([frame.0[12], frame.0[13]]),
            sll_ifindex: self.ifindex,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [0; 8],
        };
        let fd = self.socket.as_raw_fd();
        // SAFETY: both pointers are to values that outlive the call, with their lengths.
        let sent = unsafe {
            libc::sendto(
                fd,
                frame.0.as_ptr().cast(),
                frame.0.len(),
                0,
                (&raw const to).cast(),
                size_of_val(&to) as libc::socklen_t,
            )
        };
        Errno::result(sent).map(drop)
    }
}

// === impl Frame ===

impl Frame {
    /// The first segment of a connection from one pod's `eth0` to another's.
    pub fn syn(from: (&Place, SocketAddr), to: (&Place, SocketAddr)) -> Result<Self> {
        let mut tcp = Vec::new();
        tcp.extend(from.1.port().to_be_bytes());
        tcp.extend(to.1.port().to_be_bytes());
        tcp.extend(1_u32.to_be_bytes());
        tcp.extend(0_u32.to_be_bytes());
        tcp.extend([5 << 4, SYN]);
        tcp.extend(1024_u16.to_be_bytes());
        // No checksum: receivers count what they refuse for it.
        tcp.extend([0; 4]);
        Self::packet((from.0, from.1.ip()), (to.0, to.1.ip()), None, &tcp)
    }

    /// A fragment with TCP's bytes from the eighth on: without ports or flags.
    pub fn later_fragment(from: (&Place, IpAddr), to: (&Place, IpAddr)) -> Result<Self> {
        Self::packet(from, to, Some(1), &[0; 16])
    }

    fn packet(
        from: (&Place, IpAddr),
        to: (&Place, IpAddr),
        offset: Option<u16>,
        payload: &[u8],
    ) -> Result<Self> {
        let mut frame = Vec::new();
        frame.extend(mac(to.0)?);
        frame.extend(mac(from.0)?);
        match (from.1, to.1) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend(ETH_P_IP.to_be_bytes());
                frame.extend(ipv4(from, to, offset, payload.len()));
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend(ETH_P_IPV6.to_be_bytes());
                frame.extend(ipv6(from, to, offset, payload.len()));
            }
            (from, to) => anyhow::bail!("{from} and {to} are not of one family"),
        }
        frame.extend(payload);
        Ok(Self(frame))
    }
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, offset: Option<u16>, length: usize) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(20 + length as u16).to_be_bytes());
    header[6..8].copy_from_slice(&offset.unwrap_or(0).to_be_bytes());
    header[8] = 64;
    header[9] = IPPROTO_TCP;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    // RFC 1071
    let words = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, offset: Option<u16>, length: usize) -> Vec<u8> {
    let fragment = offset.map(|offset| {
        let mut header = [0; 8];
        header[0] = IPPROTO_TCP;
        header[2..4].copy_from_slice(&(offset << 3).to_be_bytes());
        header
    });
    let length = length + fragment.map_or(0, |header| header.len());
    let next = if fragment.is_some() { IPPROTO_FRAGMENT } else { IPPROTO_TCP };
    let mut header = vec![0x60, 0, 0, 0];
    header.extend((length as u16).to_be_bytes());
    header.extend([next, 64]);
    header.extend(from.octets());
    header.extend(to.octets());
    header.extend(fragment.into_iter().flatten());
    header
}

/// Of its `eth0`.
fn mac(place: &Place) -> Result<Mac> {
    let output = place.run(&["ip", "-o", "link", "show", "eth0"])?;
    let words: Vec<&str> = output.stdout()?.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "link/ether").context("eth0 has no MAC")?;
    let octets: Result<Vec<u8>, _> = words[at + 1].split(':').map(|o| u8::from_str_radix(o, 16)).collect();
    octets?.try_into().ok().context("a MAC has six octets")
}
