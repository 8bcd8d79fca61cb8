//! Whether the programs can tell processes by the PIDs that this process sees.
//!
//! Every kernel tells a connect hook the PID in the machine's first PID namespace, and from Linux 6.10 that in another one.
//! An agent may be in another: in a node that is itself a container.

use std::{fs, os::unix::fs::MetadataExt, sync::LazyLock};

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use nix::{
    libc,
    sys::stat::{major, minor},
};
use tracing::debug;

/// Inode of the first PID namespace: `PROC_PID_INIT_INO` in
/// [include/linux/proc_ns.h](https://github.com/torvalds/linux/blob/v6.12/include/linux/proc_ns.h).
const FIRST: u64 = 0xEFFF_FFFC;

/// For [`abi::name::PID_NAMESPACE`].
static NAMED: LazyLock<[u64; 2]> = LazyLock::new(|| match own() {
    Some([_, FIRST]) | None => [0, 0],
    Some(_) if !has_helper() => [0, 0],
    Some(other) => other,
});

/// What the programs are told.
pub(crate) fn named() -> &'static [u64; 2] {
    &NAMED
}

/// `false`: in this kernel a process of the agent's PID namespace can only be told by its cgroup.
pub fn tells_processes() -> bool {
    *NAMED != [0, 0] || own().is_some_and(|[_, inode]| inode == FIRST)
}

fn own() -> Option<[u64; 2]> {
    let metadata = fs::metadata("/proc/self/ns/pid").ok()?;
    // As the kernel writes a device, not as stat(2) does.
    let device: libc::dev_t = metadata.dev();
    Some([major(device) << 20 | minor(device), metadata.ino()])
}

fn has_helper() -> bool {
    let helper = BpfHelper::BPF_FUNC_get_ns_current_pid_tgid;
    is_helper_supported(ProgramType::CgroupSockAddr, helper).unwrap_or_else(|error| {
        debug!(%error, "Cannot ask the kernel for bpf_get_ns_current_pid_tgid");
        false
    })
}
