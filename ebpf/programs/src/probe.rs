//! `sock_ops` on the cgroup-v2 root: notes the connections of who probes from the node, for `steer`, from their SYN to
//! their close.

use abi::{Counter, ProbeKey, mapped};
use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE,
    },
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie},
    macros::sock_ops,
    programs::SockOpsContext,
};
use verdict::probe::{Event, Facts, Verdict, decide};

use crate::{connect::octets, count::count, maps};

const AF_INET: u32 = 2;

/// What else is asked of such programs (a window, a timeout) is left as it is. Nothing but 1 leaves it so.
const DONE: u32 = 1;

/// Something has happened to a TCP socket.
struct Socket<'a>(&'a SockOpsContext);

#[sock_ops]
pub fn probe(ctx: SockOpsContext) -> u32 {
    let socket = Socket(&ctx);
    match decide(&socket) {
        Verdict::Leave => {}
        Verdict::Forget => maps::forget_probe(&socket.probe()),
        Verdict::Note => socket.note(),
    }
    DONE
}

// === impl Socket ===

impl Socket<'_> {
    /// Not without word of its close.
    #[inline(always)]
    fn note(&self) {
        let probe = self.probe();
        let flags = self.0.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG;
        if self.0.set_cb_flags(flags as i32).is_ok() && maps::note_probe(&probe) {
            count(Counter::ProbeNoted);
        } else {
            maps::forget_probe(&probe);
            count(Counter::ProbeFailed);
        }
    }

    #[inline(always)]
    fn probe(&self) -> ProbeKey {
        let ctx = self.0;
        let (client, server) = if ctx.family() == AF_INET {
            (mapped(ctx.local_ip4().to_ne_bytes()), mapped(ctx.remote_ip4().to_ne_bytes()))
        } else {
            (octets(ctx.local_ip6()), octets(ctx.remote_ip6()))
        };
        // The one is in host byte order, the other in four bytes of network byte order. Volatile, for two of the four are
        // all that the compiler would read, which the verifier refuses.
        // SAFETY: the context is the hook's, and the fields are in its ABI.
        let (local, remote) = unsafe {
            (
                (&raw const (*ctx.ops).local_port).read_volatile(),
                (&raw const (*ctx.ops).remote_port).read_volatile(),
            )
        };
        let (client_port, server_port) = (local as u16, u32::from_be(remote) as u16);
        ProbeKey { client, server, client_port, server_port }
    }
}

impl Facts for Socket<'_> {
    #[inline(always)]
    fn event(&self) -> Event {
        match self.0.op() {
            BPF_SOCK_OPS_TCP_CONNECT_CB => Event::Dial,
            BPF_SOCK_OPS_STATE_CB if self.0.arg(1) == BPF_TCP_CLOSE => Event::Close,
            _ => Event::Other,
        }
    }

    #[inline(always)]
    fn on_node(&self) -> bool {
        // SAFETY: the helper takes this hook's context.
        let netns_cookie = unsafe { bpf_get_netns_cookie(self.0.as_ptr()) };
        maps::instance().is_some_and(|node| node.netns_cookie == netns_cookie)
    }

    #[inline(always)]
    fn by_prober(&self) -> bool {
        // SAFETY: as above.
        maps::end_dialling(unsafe { bpf_get_socket_cookie(self.0.as_ptr()) })
    }
}
