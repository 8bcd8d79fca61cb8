//! `cgroup/connect4` and `connect6`: marks the sockets of captured pods before their SYN is routed, and refuses at once
//! what would come to nothing.
//!
//! An `AF_INET6` socket that dials `::ffff:a.b.c.d` runs only `connect6`, so that hook sees IPv4 too.

use abi::{Counter, DNS_PORT, ExclusionList, Instance, ListenerKey, PodEntry, Slot, mapped};
use aya_ebpf::{
    EbpfContext as _,
    bindings::bpf_sock_addr,
    cty::c_void,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_getsockopt,
        bpf_set_retval, bpf_setsockopt,
    },
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use aya_log_ebpf::warn;
use verdict::{
    connect::{Facts, Verdict, decide, refuses_query},
    probe::is_by_prober,
};

use crate::{
    count::{count, count_stop},
    maps,
    prober::Current,
};

// include/uapi/asm-generic/socket.h, linux/net.h, linux/in.h, asm-generic/errno.h
const SOL_SOCKET: i32 = 1;
const SO_MARK: i32 = 36;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_MPTCP: u32 = 262;
const ECONNREFUSED: i32 = 111;

/// What a connect hook returns.
const PASS: i32 = 1;
const REFUSE: i32 = 0;

/// One `connect(2)`.
struct Call<'a> {
    ctx: &'a SockAddrContext,
    netns_cookie: u64,
    address: [u8; 16],
    port: u16,
    /// Where the proxy would take it.
    slot: Slot,
}

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is the hook's, and the field is in its ABI.
    let address = unsafe { (*ctx.sock_addr).user_ip4 };
    connect(&ctx, mapped(address.to_ne_bytes()))
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    // SAFETY: as above.
    let words = unsafe { (*ctx.sock_addr).user_ip6 };
    connect(&ctx, octets(words))
}

#[inline(always)]
fn connect(ctx: &SockAddrContext, address: [u8; 16]) -> i32 {
    // SAFETY: the context is the hook's, and the field is in its ABI: two bytes in network byte order.
    let port = u16::from_be(unsafe { (*ctx.sock_addr).user_port } as u16);
    let is_query = is_udp(ctx.sock_addr) && port == DNS_PORT;
    if !is_query && !is_tcp(ctx.sock_addr) {
        return PASS;
    }
    // SAFETY: the helper takes this hook's context.
    let netns_cookie = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let outbound =
        if address.starts_with(&mapped([0; 4])[..12]) { Slot::OutboundV4 } else { Slot::OutboundV6 };
    if is_query {
        let call = Call { ctx, netns_cookie, address, port, slot: outbound.dns() };
        return if refuses_query(&call) { call.refuse(Counter::ConnectRefusedAgentDown) } else { PASS };
    }
    let on_node = maps::instance().is_some_and(|node| node.netns_cookie == netns_cookie);
    if is_by_prober(&Current { on_node }) {
        // SAFETY: as above. `probe` hears of the same socket in a moment.
        maps::begin_dialling(unsafe { bpf_get_socket_cookie(ctx.as_ptr()) });
    }
    let call = Call { ctx, netns_cookie, address, port, slot: outbound };
    match decide(&call) {
        Verdict::NotCaptured => PASS,
        Verdict::Pass(counter) => {
            count(counter);
            PASS
        }
        Verdict::Unmark(counter) => {
            count(counter);
            call.unmark();
            PASS
        }
        Verdict::Capture => call.capture(),
        Verdict::Refuse(counter) => call.refuse(counter),
    }
}

// === impl Call ===

impl Call<'_> {
    /// Sets our bit and clears the agent's, which an application has no business with. The others are the
    /// application's own.
    #[inline(always)]
    fn capture(&self) -> i32 {
        let Some(Instance { mark_captured, mark_agent, .. }) = maps::instance() else {
            return self.mark_failed();
        };
        let is_marked = self.mark().is_some_and(|before| self.set_mark(before & !mark_agent | mark_captured));
        if !is_marked {
            return self.mark_failed();
        }
        count(Counter::ConnectCaptured);
        PASS
    }

    /// If it fails, the rule turns the connection into the proxy as before: a detour, and no way round.
    #[inline(always)]
    fn unmark(&self) {
        if let (Some(Instance { mark_captured, .. }), Some(before)) = (maps::instance(), self.mark())
            && before & mark_captured != 0
        {
            self.set_mark(before & !mark_captured);
        }
    }

    #[inline(always)]
    fn mark(&self) -> Option<u32> {
        let mut mark = 0_u32;
        let value: *mut c_void = (&raw mut mark).cast();
        // SAFETY: `value` points to the four bytes that the option has.
        let failed = unsafe { bpf_getsockopt(self.ctx.as_ptr(), SOL_SOCKET, SO_MARK, value, 4) } != 0;
        if failed { None } else { Some(mark) }
    }

    #[inline(always)]
    fn set_mark(&self, mut mark: u32) -> bool {
        let value: *mut c_void = (&raw mut mark).cast();
        // SAFETY: as above.
        unsafe { bpf_setsockopt(self.ctx.as_ptr(), SOL_SOCKET, SO_MARK, value, 4) == 0 }
    }

    #[inline(always)]
    fn mark_failed(&self) -> i32 {
        warn!(
            self.ctx,
            "The socket's mark could not be set, connection refused: netns {}", self.netns_cookie
        );
        self.refuse(Counter::ConnectFailed)
    }

    #[inline(always)]
    fn refuse(&self, counter: Counter) -> i32 {
        match counter {
            Counter::ConnectRefusedNotRegistered => count_stop(self.netns_cookie, counter),
            _ => count(counter),
        }
        // SAFETY: cgroup hooks may set what the system call returns (Linux 5.18).
        unsafe { bpf_set_retval(-ECONNREFUSED) };
        REFUSE
    }
}

impl Facts for Call<'_> {
    #[inline(always)]
    fn pod(&self) -> Option<PodEntry> {
        maps::pod(self.netns_cookie)
    }

    #[inline(always)]
    fn to_loopback(&self) -> bool {
        verdict::is_loopback(&self.address)
    }

    #[inline(always)]
    fn to_own_address(&self) -> bool {
        maps::is_own_address(self.netns_cookie, self.address)
    }

    #[inline(always)]
    fn to_link_local(&self) -> bool {
        verdict::is_link_local_v6(&self.address)
    }

    #[inline(always)]
    fn by_agent(&self) -> bool {
        // SAFETY: no arguments.
        maps::is_agent(unsafe { bpf_get_current_cgroup_id() })
    }

    #[inline(always)]
    fn is_excluded(&self, by: ExclusionList) -> bool {
        maps::is_excluded(self.netns_cookie, by, &self.address, self.port)
    }

    #[inline(always)]
    fn to_dns_port(&self) -> bool {
        self.port == DNS_PORT
    }

    #[inline(always)]
    fn is_unregistered(&self) -> bool {
        maps::is_unregistered(self.address, self.port)
    }

    #[inline(always)]
    fn listening(&self) -> bool {
        maps::is_listening(&ListenerKey { netns_cookie: self.netns_cookie, slot: self.slot, reserved: 0 })
    }
}

#[inline(always)]
fn is_tcp(sock_addr: *const bpf_sock_addr) -> bool {
    // SAFETY: the context is the hook's, and the fields are in its ABI.
    let (kind, protocol) = unsafe { ((*sock_addr).type_, (*sock_addr).protocol) };
    kind == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP)
}

#[inline(always)]
fn is_udp(sock_addr: *const bpf_sock_addr) -> bool {
    // SAFETY: as above.
    let (kind, protocol) = unsafe { ((*sock_addr).type_, (*sock_addr).protocol) };
    kind == SOCK_DGRAM && protocol == IPPROTO_UDP
}

/// Four words in network byte order, as the kernel's contexts hold IPv6 addresses.
#[inline(always)]
pub(crate) fn octets(words: [u32; 4]) -> [u8; 16] {
    let mut octets = [0; 16];
    for (i, word) in words.iter().enumerate() {
        let [a, b, c, d] = word.to_ne_bytes();
        octets[4 * i] = a;
        octets[4 * i + 1] = b;
        octets[4 * i + 2] = c;
        octets[4 * i + 3] = d;
    }
    octets
}
