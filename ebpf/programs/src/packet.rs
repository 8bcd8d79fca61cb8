//! TCP packets and DNS queries as the tc programs read them.

use abi::{AdmittedKey, DNS_PORT, Instance, Slot, mapped};
use aya_ebpf::programs::TcContext;
use verdict::guard::Segment;

// include/uapi/linux/if_ether.h, in.h, in6.h; RFC 9293.
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_HEADER: usize = 14;
const ETH_TYPE: usize = 12;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_ROUTING: u8 = 43;
const IPV6_FRAGMENT: u8 = 44;
const IPV6_DESTINATION: u8 = 60;
const TCP_SYN: u8 = 0x02;
const TCP_ACK: u8 = 0x10;

/// More extension headers than any sender needs.
const EXTENSIONS: usize = 4;

/// A TCP packet between the pod and elsewhere, or a query to a resolver.
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
    pub(crate) transport: Transport,
}

/// What is read of the header after that of IP.
#[derive(Clone, Copy)]
pub(crate) struct Transport {
    pub(crate) segment: Segment,
    /// Network byte order, as the next; both are 0 of what cannot be read.
    pub(crate) source: u16,
    pub(crate) destination: u16,
}

/// `None` for what is neither; `other` hears of it where it is IP.
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
    let is_later_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
    let length = usize::from(header[0] & 0x0f) * 4;
    let tcp_at = start + length;
    let Some(transport) = Transport::read(ctx, header[9], tcp_at, !is_later_fragment) else {
        other();
        return None;
    };
    Some(Packet {
        ctx,
        netns_cookie: instance.netns_cookie,
        outbound: Slot::OutboundV4,
        is_ethernet,
        ip_at: start,
        source: mapped([header[12], header[13], header[14], header[15]]),
        destination: mapped([header[16], header[17], header[18], header[19]]),
        tcp_at,
        transport,
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
    let transport = match next {
        // More of them than any sender needs.
        IPV6_HOP_BY_HOP | IPV6_ROUTING | IPV6_DESTINATION | IPV6_FRAGMENT => Some(Transport::UNREADABLE),
        protocol => Transport::read(ctx, protocol, at, is_readable),
    };
    let Some(transport) = transport else {
        other();
        return None;
    };
    Some(Packet {
        ctx,
        netns_cookie: instance.netns_cookie,
        outbound: Slot::OutboundV6,
        is_ethernet,
        ip_at: start,
        source,
        destination,
        tcp_at: at,
        transport,
    })
}

// === impl Transport ===

impl Transport {
    const UNREADABLE: Self = Self { segment: Segment::Unreadable, source: 0, destination: 0 };

    /// `None` for what is neither TCP nor a query. A fragment of a query without its header is none.
    #[inline(always)]
    fn read(ctx: &TcContext, protocol: u8, at: usize, is_readable: bool) -> Option<Self> {
        match protocol {
            IPPROTO_TCP if is_readable => Some(Self::read_tcp(ctx, at).unwrap_or(Self::UNREADABLE)),
            IPPROTO_TCP => Some(Self::UNREADABLE),
            IPPROTO_UDP if is_readable => Self::read_udp(ctx, at),
            _ => None,
        }
    }

    #[inline(always)]
    fn read_tcp(ctx: &TcContext, at: usize) -> Option<Self> {
        let header: [u8; 14] = ctx.load(at).ok()?;
        let is_first = header[13] & (TCP_SYN | TCP_ACK) == TCP_SYN;
        Some(Self {
            segment: if is_first { Segment::First } else { Segment::Later },
            source: u16::from_ne_bytes([header[0], header[1]]),
            destination: u16::from_ne_bytes([header[2], header[3]]),
        })
    }

    #[inline(always)]
    fn read_udp(ctx: &TcContext, at: usize) -> Option<Self> {
        let ports: [u8; 4] = ctx.load(at).ok()?;
        let source = u16::from_ne_bytes([ports[0], ports[1]]);
        let destination = u16::from_ne_bytes([ports[2], ports[3]]);
        (destination == DNS_PORT.to_be()).then_some(Self { segment: Segment::Query, source, destination })
    }
}

// === impl Packet ===

impl Packet<'_> {
    /// By which `guard` and `backstop` agree on a packet. The ports of what cannot be read are 0.
    #[inline(always)]
    pub(crate) fn admitted_key(&self) -> AdmittedKey {
        let Self { netns_cookie, source, destination, transport, .. } = *self;
        let (source_port, destination_port) = (transport.source, transport.destination);
        AdmittedKey { netns_cookie, source, destination, source_port, destination_port, reserved: 0 }
    }
}
