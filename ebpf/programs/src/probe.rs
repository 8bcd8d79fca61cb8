//! `sock_ops` on the cgroup-v2 root: notes the connections of who probes from the node, for `steer`, from their SYN to
//! their close.

use abi::{Counter, ProbeKey, mapped};
use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE,
        bpf_sock_ops,
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
        let ops = self.0.ops.cast_const();
        let (mut client, mut server) = ([0; 16], [0; 16]);
        if self.0.family() == AF_INET {
            read_v4(ops, &mut client, &mut server);
        } else {
            read_v6(ops, &mut client, &mut server);
        }
        // Volatile, for the compiler would read the half that matters, which the verifier refuses. The one is in host byte
        // order, the other in four bytes of network byte order.
        // SAFETY: the context is the hook's, and the fields are in its ABI.
        let (local, remote) = unsafe {
            ((&raw const (*ops).local_port).read_volatile(), (&raw const (*ops).remote_port).read_volatile())
        };
        ProbeKey { client, server, client_port: local as u16, server_port: u32::from_be(remote) as u16 }
    }
}

/// A function of its own in the kernel too, and so is the next: the compiler would make one of both, that reads from a
/// computed place in the context, which the verifier refuses.
#[inline(never)]
fn read_v4(ops: *const bpf_sock_ops, client: &mut [u8; 16], server: &mut [u8; 16]) {
    // SAFETY: the context is the hook's, and the fields are in its ABI.
    let (local, remote) = unsafe { ((*ops).local_ip4, (*ops).remote_ip4) };
    *client = mapped(local.to_ne_bytes());
    *server = mapped(remote.to_ne_bytes());
}

#[inline(never)]
fn read_v6(ops: *const bpf_sock_ops, client: &mut [u8; 16], server: &mut [u8; 16]) {
    // SAFETY: as above.
    let (local, remote) = unsafe { ((*ops).local_ip6, (*ops).remote_ip6) };
    *client = octets(local);
    *server = octets(remote);
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
