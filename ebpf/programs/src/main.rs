//! The eBPF programs: thin wrappers that bring facts to `verdict` and carry out what it says.
//!
//! | program | hook | serves | maps |
//! | --- | --- | --- | --- |
//! | `connect4`, `connect6` | cgroup connect, on the cgroup-v2 root | the node | PODS ADDRESSES AGENTS EXCLUSIONS REGISTRY LISTENERS PULSE PROBERS DIALLING STOPS |
//! | `steer` | sk_lookup, one instance for each pod's network namespace | one pod | PODS ADDRESSES EXCLUSIONS LISTENERS PULSE PROBES |
//! | `guard` | TCX egress of each interface of a pod but lo, one instance for each pod | one pod | VERDICTS PODS |
//! | `guard_verdict` | behind every `guard`, by tail call | the node | PODS ADDRESSES AGENTS EXCLUSIONS LISTENERS PULSE ADMITTED STOPS |
//! | `backstop` | TCX ingress, one instance for the node's end of each | one pod | PODS ADMITTED STOPS |
//! | `setsockopt` | cgroup setsockopt, on the cgroup-v2 root | the node | PODS STOPS |
//! | `probe` | cgroup sock_ops, on the cgroup-v2 root | the node | DIALLING PROBES |
//!
//! UAPI contexts and helpers only: nothing here depends on the layout of a kernel structure.
#![no_std]
#![no_main]

mod backstop;
mod connect;
mod count;
mod guard;
mod maps;
mod packet;
mod probe;
mod prober;
mod sockopt;
mod steer;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; abi::LICENSE.len()] = abi::LICENSE;

/// Never linked into a program that the verifier accepts: it refuses an endless loop, so a program that could
/// panic does not load.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
