//! TCP packets as the tc programs read them.

use abi::{AdmittedKey, Instance, Slot, mapped};
use aya_ebpf::programs::TcContext;
use verdict::guard::Segment;

// include/uapi/linux/if_ether.h, in.h, in6.h; RFC 9293.
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_HEADER: usize = 14;
const ETH_TYPE: usize = 12;
const IPPROTO_TCP: u8 = 6;
const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_ROUTING: u8 = 43;
const IPV6_FRAGMENT: u8 = 44;
const IPV6_DESTINATION: u8 = 60;
const TCP_SYN: u8 = 0x02;
const TCP_ACK: u8 = 0x10;

/// More extension headers than any sender needs.
const EXTENSIONS: usize = 4;

/// A TCP packet between the pod and elsewhere.
pub(crate) struct Packet<'a> {
    pub(crate) ctx: &'a TcContext,
    pub(crate) netns_cookie: u64,
    pub(crate) outbound: Slot,
    pub(crate) is_ethernet: bool,
    /// Where the IP header begins.
    pub(crate) ip_at: usize,
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
    /// Where the TCP header begins, if it can be read.
    pub(crate) tcp_at: usize,
    pub(crate) tcp: Option<Tcp>,
}

/// What is read of its TCP header.
#[derive(Clone, Copy)]
pub(crate) struct Tcp {
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) flags: u8,
}

/// `None` for what is not TCP; `other` hears of it where it is IP.
#[inline(always)]
pub(crate) fn read<'a>(ctx: &'a TcContext, instance: Instance, other: impl Fn()) -> Option<Packet<'a>> {
    // SAFETY: the context is the hook's, and the field is in its ABI.
    let protocol = u16::from_be(unsafe { (*ctx.skb.skb).protocol } as u16);
    let is_ethernet = ctx.load::<u16>(ETH_TYPE).is_ok_and(|kind| u16::from_be(kind) == protocol);
    let start = if is_ethernet { ETH_HEADER } else { 0 };
    match protocol {
        ETH_P_IP => read_v4(ctx, instance, is_ethernet, start, other),
        ETH_P_IPV6 => read_v6(ctx, instance, is_ethernet, start, other),
        _ => None,
    }
}

#[inline(always)]
fn read_v4<'a>(
    ctx: &'a TcContext,
    instance: Instance,
    is_ethernet: bool,
    start: usize,
    other: impl Fn(),
) -> Option<Packet<'a>> {
    let header: [u8; 20] = ctx.load(start).ok()?;
    if header[9] != IPPROTO_TCP {
        other();
        return None;
    }
    let is_later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    let length = usize::from(header[0] & 0x0f) * 4;
    let tcp_at = start + length;
    let tcp = if is_later_fragment { None } else { read_tcp(ctx, tcp_at) };
    Some(Packet {
        ctx,
        netns_cookie: instance.netns_cookie,
        outbound: Slot::OutboundV4,
        is_ethernet,
        ip_at: start,
        source: mapped([header[12], header[13], header[14], header[15]]),
        destination: mapped([header[16], header[17], header[18], header[19]]),
        tcp_at,
        tcp,
    })
}

#[inline(always)]
fn read_v6<'a>(
    ctx: &'a TcContext,
    instance: Instance,
    is_ethernet: bool,
    start: usize,
    other: impl Fn(),
) -> Option<Packet<'a>> {
    let mut next: u8 = ctx.load(start + 6).ok()?;
    let source: [u8; 16] = ctx.load(start + 8).ok()?;
    let destination: [u8; 16] = ctx.load(start + 24).ok()?;
    let mut at = start + 40;
    let mut tcp = None;
    let mut is_readable = true;
    for _ in 0..EXTENSIONS {
        match next {
            IPV6_HOP_BY_HOP | IPV6_ROUTING | IPV6_DESTINATION => {
                let header: [u8; 2] = ctx.load(at).ok()?;
                next = header[0];
                at += (usize::from(header[1]) + 1) * 8;
            }
            IPV6_FRAGMENT => {
                let header: [u8; 4] = ctx.load(at).ok()?;
                next = header[0];
                is_readable = u16::from_be_bytes([header[2], header[3]]) & 0xfff8 == 0;
                at += 8;
            }
            _ => break,
        }
    }
    match next {
        IPPROTO_TCP if is_readable => tcp = read_tcp(ctx, at),
        IPPROTO_TCP | IPV6_HOP_BY_HOP | IPV6_ROUTING | IPV6_DESTINATION | IPV6_FRAGMENT => {}
        _ => {
            other();
            return None;
        }
    }
    Some(Packet {
        ctx,
        netns_cookie: instance.netns_cookie,
        outbound: Slot::OutboundV6,
        is_ethernet,
        ip_at: start,
        source,
        destination,
        tcp_at: at,
        tcp,
    })
}

#[inline(always)]
fn read_tcp(ctx: &TcContext, at: usize) -> Option<Tcp> {
    let header: [u8; 14] = ctx.load(at).ok()?;
    Some(Tcp {
        source: u16::from_ne_bytes([header[0], header[1]]),
        destination: u16::from_ne_bytes([header[2], header[3]]),
        flags: header[13],
    })
}
// === impl Packet ===

impl Packet<'_> {
    #[inline(always)]
    pub(crate) fn segment(&self) -> Segment {
        match self.tcp {
            Some(tcp) if tcp.flags & (TCP_SYN | TCP_ACK) == TCP_SYN => Segment::First,
            Some(_) => Segment::Later,
            None => Segment::Unreadable,
        }
    }

    /// By which `guard` and `backstop` agree on a packet. The ports of what cannot be read are 0.
    #[inline(always)]
    pub(crate) fn admitted_key(&self) -> AdmittedKey {
        let (source_port, destination_port) = self.tcp.map_or((0, 0), |tcp| (tcp.source, tcp.destination));
        let Self { netns_cookie, source, destination, .. } = *self;
        AdmittedKey { netns_cookie, source, destination, source_port, destination_port, reserved: 0 }
    }
}
