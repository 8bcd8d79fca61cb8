//! tc ingress on the node's end of a pod's interface: drops what got past the guard, by a packet socket with
//! `PACKET_QDISC_BYPASS` or an AF_XDP socket, which no egress hook sees.
//!
//! One instance for each pod.

use abi::PodEntry;
use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    macros::classifier,
    programs::TcContext,
};
use verdict::{
    backstop::{Facts, Verdict, decide},
    guard::Segment,
};

use crate::{
    count::count_stop,
    maps,
    packet::{Packet, read},
};

#[classifier]
pub fn backstop(ctx: TcContext) -> i32 {
    let Some(packet) = maps::instance().and_then(|instance| read(&ctx, instance, || ())) else {
        return TC_ACT_UNSPEC;
    };
    match decide(&packet) {
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Drop(counter) => {
            count_stop(packet.netns_cookie, counter);
            TC_ACT_SHOT
        }
    }
}

impl Facts for Packet<'_> {
    #[inline(always)]
    fn segment(&self) -> Segment {
        self.transport.segment
    }

    #[inline(always)]
    fn is_admitted(&self) -> bool {
        maps::is_admitted(&self.admitted_key())
    }

    #[inline(always)]
    fn pod(&self) -> Option<PodEntry> {
        maps::pod(self.netns_cookie)
    }
}
