//! tc egress on every interface of the pod but `lo`: new connections that come by another way than the connect hook
//! and the rule are turned into the proxy, or dropped where that cannot be.
//!
//! One instance for each pod, attached to each of its interfaces. Later segments cost a look-up, or two.

use core::mem::size_of;

use abi::{Counter, ExclusionList, Instance, ListenerKey, PodEntry, Slot, mapped};
use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_CURRENT_NETNS, BPF_F_INGRESS, TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_sock, bpf_sock_tuple,
        bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::{
        bpf_redirect, bpf_sk_release, bpf_skb_cgroup_id, bpf_skb_load_bytes, bpf_skc_lookup_tcp,
        bpf_tcp_check_syncookie,
    },
    macros::classifier,
    programs::TcContext,
};
use verdict::guard::{Facts, Segment, Verdict, decide};

use crate::{count::count, maps};

// include/uapi/linux/if_ether.h, in.h, in6.h; RFC 9293.
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_HEADER: usize = 14;
const ETH_TYPE: usize = 12;
const MAC: usize = 6;
const IPPROTO_TCP: u8 = 6;
const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_ROUTING: u8 = 43;
const IPV6_FRAGMENT: u8 = 44;
const IPV6_DESTINATION: u8 = 60;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const TCP_SYN: u8 = 0x02;
const TCP_ACK: u8 = 0x10;

/// `TCP_LISTEN`: the look-up fell through to a listener, so there is no such connection, or none yet.
const LISTEN: u32 = 10;

/// More extension headers than any sender needs.
const EXTENSIONS: usize = 4;

/// The next program, if there is one, decides (TCX and clsact alike).
const NEXT: i32 = TC_ACT_UNSPEC;

/// A TCP packet that is about to leave.
struct Packet<'a> {
    ctx: &'a TcContext,
    netns_cookie: u64,
    outbound: Slot,
    is_ethernet: bool,
    /// Where the IP header begins.
    ip_at: usize,
    source: [u8; 16],
    destination: [u8; 16],
    /// Where the TCP header begins, if it can be read.
    tcp_at: usize,
    tcp: Option<Tcp>,
}

/// What is read of its TCP header.
#[derive(Clone, Copy)]
struct Tcp {
    source: u16,
    destination: u16,
    flags: u8,
}

#[classifier]
pub fn guard(ctx: TcContext) -> i32 {
    let Some(instance) = maps::instance() else {
        return TC_ACT_SHOT;
    };
    let Some(packet) = read(&ctx, instance) else {
        return NEXT;
    };
    match decide(&packet) {
        Verdict::Leave => NEXT,
        Verdict::Pass(counter) => {
            count(counter);
            NEXT
        }
        Verdict::Turn => packet.turn(instance),
        Verdict::Drop(counter) => {
            count(counter);
            TC_ACT_SHOT
        }
    }
}

/// `None` for what is not TCP.
#[inline(always)]
fn read(ctx: &TcContext, instance: Instance) -> Option<Packet<'_>> {
    // SAFETY: the context is the hook's, and the field is in its ABI.
    let protocol = u16::from_be(unsafe { (*ctx.skb.skb).protocol } as u16);
    let is_ethernet = ctx.load::<u16>(ETH_TYPE).is_ok_and(|kind| u16::from_be(kind) == protocol);
    let start = if is_ethernet { ETH_HEADER } else { 0 };
    match protocol {
        ETH_P_IP => read_v4(ctx, instance, is_ethernet, start),
        ETH_P_IPV6 => read_v6(ctx, instance, is_ethernet, start),
        _ => None,
    }
}

#[inline(always)]
fn read_v4(ctx: &TcContext, instance: Instance, is_ethernet: bool, start: usize) -> Option<Packet<'_>> {
    let header: [u8; 20] = ctx.load(start).ok()?;
    if header[9] != IPPROTO_TCP {
        count(Counter::GuardOtherProtocol);
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
fn read_v6(ctx: &TcContext, instance: Instance, is_ethernet: bool, start: usize) -> Option<Packet<'_>> {
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
            count(Counter::GuardOtherProtocol);
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
    /// Sends it in again by the interface that it was about to leave by: to our own MAC, and marked.
    #[inline(always)]
    fn turn(&self, instance: Instance) -> i32 {
        let Ok(own) = self.ctx.load::<[u8; MAC]>(MAC) else {
            return TC_ACT_SHOT;
        };
        if self.ctx.store(0, &own, 0).is_err() {
            return TC_ACT_SHOT;
        }
        // SAFETY: the context is the hook's, and the fields are in its ABI.
        let (mark, ifindex) = unsafe { ((*self.ctx.skb.skb).mark, (*self.ctx.skb.skb).ifindex) };
        self.ctx.skb.set_mark(mark & !instance.mark_agent | instance.mark_captured);
        if self.segment() == Segment::First {
            count(Counter::GuardTurned);
        }
        // SAFETY: a plain call; the redirect happens after the program has returned.
        unsafe { bpf_redirect(ifindex, BPF_F_INGRESS.into()) as i32 }
    }

    /// As the packet would be looked up if it came in: from us, to the address that was dialled.
    #[inline(always)]
    fn tuple(&self, tcp: Tcp) -> (bpf_sock_tuple, u32) {
        if self.outbound == Slot::OutboundV4 {
            let word = |a: [u8; 16]| u32::from_ne_bytes([a[12], a[13], a[14], a[15]]);
            let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
                saddr: word(self.source),
                daddr: word(self.destination),
                sport: tcp.source,
                dport: tcp.destination,
            };
            let tuple = bpf_sock_tuple { __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 { ipv4 } };
            return (tuple, size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>() as u32);
        }
        let ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: words(self.source),
            daddr: words(self.destination),
            sport: tcp.source,
            dport: tcp.destination,
        };
        let tuple = bpf_sock_tuple { __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 { ipv6 } };
        (tuple, size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>() as u32)
    }
}

/// The headers that `bpf_tcp_check_syncookie` wants to see, copied.
#[repr(C, align(8))]
struct Headers<const IP: usize> {
    ip: [u8; IP],
    tcp: [u8; TCP_HEADER],
}

impl Packet<'_> {
    /// A listener that sends SYN cookies keeps nothing of a connection until it sees the ACK of its SYN-ACK: this one.
    /// `listener` is the proxy's, for `steer` gives it all that the pod sends to others.
    #[inline(always)]
    fn answers_a_cookie(&self, listener: *mut bpf_sock) -> bool {
        let skb = self.ctx.skb.skb;
        if self.outbound == Slot::OutboundV4 {
            has_cookie::<IPV4_HEADER>(skb, self.ip_at, self.tcp_at, listener)
        } else {
            has_cookie::<IPV6_HEADER>(skb, self.ip_at, self.tcp_at, listener)
        }
    }
}

/// A function of its own in the kernel too: the copies are more than the stack of `guard` can hold.
#[inline(never)]
fn has_cookie<const IP: usize>(
    skb: *mut __sk_buff,
    ip_at: usize,
    tcp_at: usize,
    listener: *mut bpf_sock,
) -> bool {
    let mut headers = Headers::<IP> { ip: [0; IP], tcp: [0; TCP_HEADER] };
    let (ip, tcp) = (&raw mut headers.ip, &raw mut headers.tcp);
    // SAFETY: both headers are as long as it is told.
    let is_read = unsafe {
        bpf_skb_load_bytes(skb.cast(), ip_at as u32, ip.cast(), IP as u32) == 0
            && bpf_skb_load_bytes(skb.cast(), tcp_at as u32, tcp.cast(), TCP_HEADER as u32) == 0
    };
    let (ip, tcp) = (ip.cast(), tcp.cast());
    // SAFETY: as above.
    is_read && unsafe { bpf_tcp_check_syncookie(listener.cast(), ip, IP as u32, tcp, TCP_HEADER as u32) == 0 }
}

impl Facts for Packet<'_> {
    #[inline(always)]
    fn segment(&self) -> Segment {
        match self.tcp {
            Some(tcp) if tcp.flags & (TCP_SYN | TCP_ACK) == TCP_SYN => Segment::First,
            Some(_) => Segment::Later,
            None => Segment::Unreadable,
        }
    }

    #[inline(always)]
    fn by_agent(&self) -> bool {
        // SAFETY: the helper takes this hook's context.
        maps::is_agent(unsafe { bpf_skb_cgroup_id(self.ctx.skb.skb) })
    }

    #[inline(always)]
    fn pod(&self) -> Option<PodEntry> {
        maps::pod(self.netns_cookie)
    }

    #[inline(always)]
    fn to_link_local(&self) -> bool {
        verdict::is_link_local_v6(&self.destination)
    }

    #[inline(always)]
    fn is_excluded(&self, by: ExclusionList) -> bool {
        // No rule allows port 0.
        let port = self.tcp.map_or(0, |tcp| u16::from_be(tcp.destination));
        maps::is_excluded(self.netns_cookie, by, &self.destination, port)
    }

    #[inline(always)]
    fn listening(&self) -> bool {
        maps::is_listening(&ListenerKey { netns_cookie: self.netns_cookie, slot: self.outbound, reserved: 0 })
    }

    #[inline(always)]
    fn is_ours(&self) -> bool {
        maps::is_own_address(self.netns_cookie, self.source)
    }

    #[inline(always)]
    fn is_ethernet(&self) -> bool {
        self.is_ethernet
    }

    #[inline(always)]
    fn is_turned(&self) -> bool {
        let Some(tcp) = self.tcp else {
            return false;
        };
        let (mut tuple, size) = self.tuple(tcp);
        let netns = BPF_F_CURRENT_NETNS as u64;
        let skb = self.ctx.skb.skb.cast();
        // SAFETY: `tuple` holds `size` bytes of the family that `size` tells.
        let socket = unsafe { bpf_skc_lookup_tcp(skb, &raw mut tuple, size, netns, 0) };
        if socket.is_null() {
            return false;
        }
        // SAFETY: the look-up returned a socket, and this field is readable of any kind of it.
        let state = unsafe { (*socket).state };
        let is_turned = state != LISTEN || self.answers_a_cookie(socket);
        // SAFETY: the look-up took a reference, which ends here.
        unsafe { bpf_sk_release(socket.cast()) };
        is_turned
    }
}

#[inline(always)]
fn words(octets: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (i, word) in words.iter_mut().enumerate() {
        *word = u32::from_ne_bytes([octets[4 * i], octets[4 * i + 1], octets[4 * i + 2], octets[4 * i + 3]]);
    }
    words
}
