//! What the eBPF programs and the agent agree on: names, keys, values and numbers. Inert: no code runs here.
//!
//! A change of any layout or meaning below needs a new [`VERSION`]: maps of another version are never adopted.
#![no_std]

mod address;
mod counter;
mod exclusion;
mod maps;
mod probe;
mod registry;

pub use address::{AddressKey, LOOPBACK_IFINDEX, mapped};
pub use counter::Counter;
pub use exclusion::{ExclusionKey, ExclusionList};
#[cfg(feature = "user")]
pub use maps::RawListenerKey;
pub use maps::{AdmittedKey, AgentEntry, Instance, ListenerKey, PodEntry, Slot, StopKey, limit, name};
pub use probe::{ProbeKey, Prober, ProberKey};
pub use registry::RegistryKey;

/// The version of this crate's layouts. It is part of the path of the pinned maps.
pub const VERSION: u32 = 5;

/// RFC 1035, 4.2.
pub const DNS_PORT: u16 = 53;

/// The kernel's licence check of our programs: `bpf_getsockopt` and its kin ask for a GPL-compatible one.
pub const LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
