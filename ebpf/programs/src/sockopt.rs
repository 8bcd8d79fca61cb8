//! `setsockopt(2)` on the cgroup-v2 root: refuses captured pods what would send past every egress hook.

use abi::Counter;
use aya_ebpf::{helpers::bpf_get_netns_cookie, macros::cgroup_sockopt, programs::SockoptContext};
use verdict::sockopt::evades;

use crate::{count::count_stop, maps};

const REFUSE: i32 = 0;
const PASS: i32 = 1;

/// The kernel has copied no more than a page of the value for us, and takes what we leave of a longer one for a change
/// unless it is told that there is none.
const PAGE: i32 = 4096;

#[cgroup_sockopt(setsockopt)]
pub fn setsockopt(ctx: SockoptContext) -> i32 {
    let call = ctx.sockopt;
    // SAFETY: the context is the hook's, and the fields are in its ABI.
    let (level, option, length) = unsafe { ((*call).level, (*call).optname, (*call).optlen) };
    if length > PAGE {
        // SAFETY: as above, and this one may be written.
        unsafe { (*call).optlen = 0 };
    }
    if !evades(level, option) {
        return PASS;
    }
    // SAFETY: the helper takes this hook's context.
    let netns_cookie = unsafe { bpf_get_netns_cookie(call.cast()) };
    if maps::pod(netns_cookie).is_none() {
        return PASS;
    }
    count_stop(netns_cookie, Counter::SockoptRefused);
    REFUSE
}
