//! tc egress on every interface of the pod but `lo`: new connections that come by another way than the connect hook
//! and the rule are turned into the proxy, or dropped where that cannot be; and so are DNS queries, which have no other
//! way.
//!
//! Each pod has its own `guard`, attached to each of its interfaces, for not every kernel tells a tc program which namespace it
//! runs in. All it does is to say that, and to go on with `guard_verdict`, of which the node has one: the verifier takes
//! milliseconds for it. Later segments cost a look-up, or two.

use core::mem::{MaybeUninit, size_of};

use abi::{Counter, ExclusionList, Instance, ListenerKey, PodEntry, Slot};
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

use crate::{
    count::{count, count_stop},
    maps,
    packet::{Packet, Transport, read},
};

// include/uapi/linux/if_ether.h, RFC 791, 8200, 9293.
const MAC: usize = 6;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;

/// `TCP_LISTEN`: the look-up fell through to a listener, so there is no such connection, or none yet.
const LISTEN: u32 = 10;

/// The next program, if there is one, decides (TCX and clsact alike).
const NEXT: i32 = TC_ACT_UNSPEC;

#[classifier]
pub fn guard(ctx: TcContext) -> i32 {
    let Some(Instance { netns_cookie, .. }) = maps::instance() else {
        return TC_ACT_SHOT;
    };
    // SAFETY: the context is the hook's. Its scratch space is for programs that go on with one another, and aligned for this.
    unsafe { (&raw mut (*ctx.skb.skb).cb).cast::<u64>().write(netns_cookie) };
    maps::go_on_with_verdict(&ctx);
    // Only where the node's maps were unpinned and this was left: the pod is none of ours any more, or must not get out.
    if maps::pod(netns_cookie).is_none() { NEXT } else { TC_ACT_SHOT }
}

#[classifier]
pub fn guard_verdict(ctx: TcContext) -> i32 {
    let Some(node) = maps::instance() else {
        return TC_ACT_SHOT;
    };
    // SAFETY: as above, where it was written.
    let netns_cookie = unsafe { (&raw const (*ctx.skb.skb).cb).cast::<u64>().read() };
    let instance = Instance { netns_cookie, ..node };
    let Some(packet) = read(&ctx, instance, || count(Counter::GuardOtherProtocol)) else {
        return NEXT;
    };
    match decide(&packet) {
        Verdict::Leave => leave(&packet),
        Verdict::Pass(counter) => {
            count(counter);
            leave(&packet)
        }
        Verdict::Turn => packet.turn(instance),
        Verdict::Drop(counter) => {
            count_stop(instance.netns_cookie, counter);
            TC_ACT_SHOT
        }
    }
}

/// The backstop at the other end of the wire lets begin only what went through here.
#[inline(always)]
fn leave(packet: &Packet<'_>) -> i32 {
    if matches!(packet.transport.segment, Segment::First | Segment::Unreadable) {
        maps::admit(&packet.admitted_key());
    }
    NEXT
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
        match self.transport.segment {
            Segment::First => count(Counter::GuardTurned),
            Segment::Query => count(Counter::GuardTurnedQuery),
            Segment::Later | Segment::Unreadable => {}
        }
        // SAFETY: a plain call; the redirect happens after the program has returned.
        unsafe { bpf_redirect(ifindex, BPF_F_INGRESS.into()) as i32 }
    }

    /// As the packet would be looked up if it came in: from us, to the address that was dialled.
    #[inline(always)]
    fn tuple(&self) -> (bpf_sock_tuple, u32) {
        let Transport { source: sport, destination: dport, .. } = self.transport;
        if self.outbound == Slot::OutboundV4 {
            let word = |a: [u8; 16]| u32::from_ne_bytes([a[12], a[13], a[14], a[15]]);
            let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
                saddr: word(self.source),
                daddr: word(self.destination),
                sport,
                dport,
            };
            let tuple = bpf_sock_tuple { __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 { ipv4 } };
            return (tuple, size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>() as u32);
        }
        let ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: words(self.source),
            daddr: words(self.destination),
            sport,
            dport,
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
    let mut headers = MaybeUninit::<Headers<IP>>::uninit();
    let headers = headers.as_mut_ptr();
    // SAFETY: both are within what `headers` points to, and written before they are read; they are as long as it is told.
    let (ip, tcp) = unsafe { (&raw mut (*headers).ip, &raw mut (*headers).tcp) };
    // SAFETY: as above.
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
        self.transport.segment
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
        // Of what cannot be read the port is 0, which no rule allows.
        let port = u16::from_be(self.transport.destination);
        maps::is_excluded(self.netns_cookie, by, &self.destination, port)
    }

    #[inline(always)]
    fn listening(&self) -> bool {
        maps::is_listening(&ListenerKey { netns_cookie: self.netns_cookie, slot: self.outbound, reserved: 0 })
    }

    #[inline(always)]
    fn answering(&self) -> bool {
        let slot = self.outbound.dns();
        maps::is_listening(&ListenerKey { netns_cookie: self.netns_cookie, slot, reserved: 0 })
    }

    #[inline(always)]
    fn is_ours(&self) -> bool {
        maps::is_own_address(self.netns_cookie, self.source)
    }

    #[inline(always)]
    fn is_forwarded(&self) -> bool {
        // SAFETY: the context is the hook's, and the field is in its ABI.
        unsafe { (*self.ctx.skb.skb).__bindgen_anon_2.sk }.is_null()
    }

    #[inline(always)]
    fn is_ethernet(&self) -> bool {
        self.is_ethernet
    }

    #[inline(always)]
    fn is_turned(&self) -> bool {
        let (mut tuple, size) = self.tuple();
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
