//! Who dials from the node: asked in `connect(2)`, where the caller is the current process on every kernel.

use core::mem::size_of;

use abi::Prober;
use aya_ebpf::{
    bindings::bpf_pidns_info,
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_ns_current_pid_tgid},
};
use verdict::probe::Caller;

use crate::maps;

/// What [`abi::name::PID_NAMESPACE`] says; the loader writes it. A constant for the verifier, so where it is 0 an older
/// kernel does not mind the helper that it does not have.
#[unsafe(no_mangle)]
static PID_NAMESPACE: [u64; 2] = [0, 0];

/// The process that calls `connect(2)`.
pub(crate) struct Current {
    pub(crate) on_node: bool,
}

impl Caller for Current {
    #[inline(always)]
    fn on_node(&self) -> bool {
        self.on_node
    }

    #[inline(always)]
    fn thread_group(&self) -> Option<u32> {
        // SAFETY: a static of ours; volatile, for it is not what it was when we were compiled.
        let [device, inode] = unsafe { (&raw const PID_NAMESPACE).read_volatile() };
        if inode == 0 {
            return Some((bpf_get_current_pid_tgid() >> 32) as u32);
        }
        let mut ids = bpf_pidns_info { pid: 0, tgid: 0 };
        // SAFETY: `ids` is as long as it is told. It fails for a process of another namespace.
        let failed = unsafe {
            bpf_get_ns_current_pid_tgid(device, inode, &raw mut ids, size_of::<bpf_pidns_info>() as u32)
        };
        if failed == 0 { Some(ids.tgid) } else { None }
    }

    #[inline(always)]
    fn cgroup(&self) -> u64 {
        // SAFETY: no arguments.
        unsafe { bpf_get_current_cgroup_id() }
    }

    #[inline(always)]
    fn probes(&self, prober: Prober) -> bool {
        maps::is_prober(prober)
    }
}
