//! `sk_lookup`: hands a SYN to the proxy's listener, and a DNS query to its socket for those.
//!
//! One instance for each pod: this hook cannot ask which namespace it runs in, and `bpf_sk_assign` does not
//! check that socket and packet belong together, so the instance carries its namespace's cookie.

use abi::{
    Counter, DNS_PORT, ExclusionList, LOOPBACK_IFINDEX, ListenerKey, PodEntry, ProbeKey, Slot, mapped,
};
use aya_ebpf::{
    bindings::{BPF_SK_LOOKUP_F_NO_REUSEPORT, BPF_SK_LOOKUP_F_REPLACE, bpf_sk_lookup, sk_action},
    macros::sk_lookup,
    programs::SkLookupContext,
};
use verdict::steer::{Facts, Orphan, Verdict, decide, is_query, orphan};

use crate::{connect::octets, count::count, maps};

const AF_INET: u32 = 2;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;

const PASS: u32 = sk_action::SK_PASS;
const DROP: u32 = sk_action::SK_DROP;

/// A TCP packet that found no connection, or a datagram that found no connected socket.
struct Packet {
    netns_cookie: u64,
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
    ingress_ifindex: u32,
}

#[sk_lookup]
pub fn steer(ctx: SkLookupContext) -> u32 {
    let lookup = ctx.lookup.cast_const();
    // SAFETY: the context is the hook's, and the fields are in its ABI.
    let (protocol, family, port) = unsafe { ((*lookup).protocol, (*lookup).family, (*lookup).local_port) };
    if protocol == IPPROTO_UDP && port == DNS_PORT.into() {
        return steer_query(ctx.lookup, family);
    }
    if protocol != IPPROTO_TCP {
        return PASS;
    }
    let syn = if family == AF_INET { Packet::v4(lookup) } else { Packet::v6(lookup) };
    let (slot, counter) = match (decide(&syn), family == AF_INET) {
        (Verdict::Pass(counter), _) => {
            count(counter);
            return PASS;
        }
        (Verdict::Outbound, true) => (Slot::OutboundV4, Counter::SteerOutbound),
        (Verdict::Outbound, false) => (Slot::OutboundV6, Counter::SteerOutbound),
        (Verdict::Inbound, true) => (Slot::InboundV4, Counter::SteerInbound),
        (Verdict::Inbound, false) => (Slot::InboundV6, Counter::SteerInbound),
    };
    hand_over(&ctx, syn.netns_cookie, slot, counter)
}

/// A function of its own in the kernel too, which reads no more than it needs: together they may have 512 bytes of stack.
#[inline(never)]
fn steer_query(lookup: *mut bpf_sk_lookup, family: u32) -> u32 {
    // Volatile: the verifier wants each field read by its own offset from the context, and not one of two pointers.
    // SAFETY: the context is the hook's, and the field is in its ABI, of whatever family the packet is.
    let v4 = unsafe { (&raw const (*lookup).local_ip4).read_volatile() };
    // SAFETY: as above.
    let v6 = unsafe { (&raw const (*lookup).local_ip6).read_volatile() };
    let local = if family == AF_INET { mapped(v4.to_ne_bytes()) } else { octets(v6) };
    let netns_cookie = maps::instance().map_or(0, |instance| instance.netns_cookie);
    if !is_query(verdict::is_loopback(&local), maps::is_own_address(netns_cookie, local)) {
        return PASS;
    }
    let slot = if family == AF_INET { Slot::DnsV4 } else { Slot::DnsV6 };
    hand_over(&SkLookupContext { lookup }, netns_cookie, slot, Counter::SteerQuery)
}

#[inline(always)]
fn hand_over(ctx: &SkLookupContext, netns_cookie: u64, slot: Slot, counter: Counter) -> u32 {
    let key = ListenerKey { netns_cookie, slot, reserved: 0 };
    // The slot is the choice: no reuseport group of somebody else's takes part in it, nor what a program before this one
    // has chosen. That one gets its way when the proxy delivers, which passes here.
    let flags = (BPF_SK_LOOKUP_F_NO_REUSEPORT | BPF_SK_LOOKUP_F_REPLACE).into();
    if maps::is_alive() && maps::LISTENERS.redirect_sk_lookup(ctx, key, flags).is_ok() {
        count(counter);
        return PASS;
    }
    match orphan(maps::pod(netns_cookie)) {
        Orphan::Pass => {
            count(Counter::SteerOpenAgentDown);
            PASS
        }
        Orphan::Refuse => {
            count(Counter::SteerRefusedAgentDown);
            DROP
        }
    }
}

// === impl Packet ===

impl Packet {
    #[inline(always)]
    fn v4(lookup: *const bpf_sk_lookup) -> Self {
        // SAFETY: the context is the hook's, and the fields are in its ABI.
        let (local, remote) = unsafe { ((*lookup).local_ip4, (*lookup).remote_ip4) };
        Self::new(lookup, mapped(local.to_ne_bytes()), mapped(remote.to_ne_bytes()))
    }

    #[inline(always)]
    fn v6(lookup: *const bpf_sk_lookup) -> Self {
        // SAFETY: as above.
        let (local, remote) = unsafe { ((*lookup).local_ip6, (*lookup).remote_ip6) };
        Self::new(lookup, octets(local), octets(remote))
    }

    #[inline(always)]
    fn new(lookup: *const bpf_sk_lookup, local: [u8; 16], remote: [u8; 16]) -> Self {
        // SAFETY: as above.
        let (ingress_ifindex, local_port, remote_port) = unsafe {
            ((*lookup).ingress_ifindex, (*lookup).local_port as u16, u16::from_be((*lookup).remote_port))
        };
        let netns_cookie = maps::instance().map_or(0, |instance| instance.netns_cookie);
        Self { netns_cookie, local, remote, local_port, remote_port, ingress_ifindex }
    }
}

impl Facts for Packet {
    #[inline(always)]
    fn pod(&self) -> Option<PodEntry> {
        maps::pod(self.netns_cookie)
    }

    #[inline(always)]
    fn to_loopback(&self) -> bool {
        verdict::is_loopback(&self.local)
    }

    #[inline(always)]
    fn to_own_address(&self) -> bool {
        maps::is_own_address(self.netns_cookie, self.local)
    }

    #[inline(always)]
    fn by_itself(&self) -> bool {
        verdict::is_loopback(&self.remote) || maps::is_own_address(self.netns_cookie, self.remote)
    }

    #[inline(always)]
    fn over_lo(&self) -> bool {
        self.ingress_ifindex == LOOPBACK_IFINDEX
    }

    #[inline(always)]
    fn is_excluded(&self, by: ExclusionList) -> bool {
        maps::is_excluded(self.netns_cookie, by, &self.remote, self.local_port)
    }

    #[inline(always)]
    fn is_probe(&self) -> bool {
        maps::is_probe(&ProbeKey {
            client: self.remote,
            server: self.local,
            client_port: self.remote_port,
            server_port: self.local_port,
        })
    }
}
