//! Map names, sizes, keys and values. All maps belong to the node; what belongs to one pod carries the cookie
//! of the pod's network namespace (`SO_NETNS_COOKIE`) in its key.

use crate::ExclusionList;

/// Names of maps, programs and globals, as the object file and the pins spell them.
pub mod name {
    /// cookie → [`PodEntry`](super::PodEntry): captured pods. No entry: nothing new is captured.
    pub const PODS: &str = "PODS";
    /// [`AddressKey`](crate::AddressKey) → 1: the pod's own addresses.
    pub const ADDRESSES: &str = "ADDRESSES";
    /// [`ExclusionKey`](crate::ExclusionKey) → 1: what passes without the proxy.
    pub const EXCLUSIONS: &str = "EXCLUSIONS";
    /// [`ListenerKey`](super::ListenerKey) → the proxy's listening socket. The kernel empties a slot when its
    /// socket closes, however the process died: an empty slot *is* "agent dead".
    pub const LISTENERS: &str = "LISTENERS";
    /// [`RegistryKey`](crate::RegistryKey) → 1: what somebody in the mesh has. Filled only while a pod of the node may dial
    /// nothing else, and to be asked only if [`RegistryKey::COMPLETE`](crate::RegistryKey::COMPLETE) is there.
    pub const REGISTRY: &str = "REGISTRY";
    /// cgroup id → [`AgentEntry`](super::AgentEntry): processes whose connections are the agent's own.
    pub const AGENTS: &str = "AGENTS";
    /// 0 → until when the agent counts as alive, in nanoseconds of `CLOCK_MONOTONIC`. The agent puts it off while its
    /// proxy answers; an agent that is stopped or stuck keeps its sockets, but not this.
    pub const PULSE: &str = "PULSE";
    /// [`AdmittedKey`](super::AdmittedKey) → 1: what `guard` let out, for `backstop`. The oldest make room.
    pub const ADMITTED: &str = "ADMITTED";
    /// [`StopKey`](super::StopKey) → what was dropped or refused of one pod, per CPU. The oldest make room.
    pub const STOPS: &str = "STOPS";
    /// [`ProberKey`](crate::ProberKey) → 1: whose connections from the node are probes. The agent follows who comes and
    /// goes; while none runs, who is here stays.
    pub const PROBERS: &str = "PROBERS";
    /// Cookie of a socket (`SO_COOKIE`) → 1: who probes is dialling with it. From `connect(2)` to its SYN; the oldest make
    /// room.
    pub const DIALLING: &str = "DIALLING";
    /// [`ProbeKey`](crate::ProbeKey) → 1: probes that are there, each from its SYN to its close. The oldest make room.
    pub const PROBES: &str = "PROBES";
    /// [`Counter`](crate::Counter) → packets or calls, per CPU.
    pub const COUNTERS: &str = "COUNTERS";
    pub const AYA_LOGS: &str = "AYA_LOGS";
    /// 0 → the program `guard_verdict`, which every `guard` goes on with.
    pub const VERDICTS: &str = "VERDICTS";
    /// 0 → [`Instance`](super::Instance). The one map that is not shared: each loaded instance has its own.
    pub const INSTANCE: &str = "INSTANCE";

    pub const CONNECT4: &str = "connect4";
    pub const CONNECT6: &str = "connect6";
    pub const STEER: &str = "steer";
    pub const GUARD: &str = "guard";
    pub const GUARD_VERDICT: &str = "guard_verdict";
    pub const BACKSTOP: &str = "backstop";
    pub const SETSOCKOPT: &str = "setsockopt";
    pub const PROBE: &str = "probe";

    /// The PID namespace in which [`Prober::ThreadGroup`](crate::Prober) counts, as device and inode; all 0: the machine's
    /// first.
    pub const PID_NAMESPACE: &str = "PID_NAMESPACE";
}

/// Sizes of the maps: what one node may hold.
pub mod limit {
    /// Kubernetes plans for 110 pods a node; large installations go to 500.
    pub const PODS: u32 = 1024;
    /// Several addresses a pod.
    pub const ADDRESSES: u32 = 16 * PODS;
    /// A handful of networks and ports a pod. They take memory only where they are.
    pub const EXCLUSIONS: u32 = 16 * PODS;
    /// Addresses of services, of their endpoints, and of pods. They take memory only where they are; beyond this the proxy
    /// alone decides.
    pub const REGISTRY: u32 = 256 * 1024;
    /// Of each family two listeners a pod, and a socket for DNS.
    pub const LISTENERS: u32 = 6 * PODS;
    /// The old and the new agent of an upgrade, and room.
    pub const AGENTS: u32 = 16;
    /// A few reasons for each pod, and room for pods that are gone.
    pub const STOPS: u32 = 8 * PODS;
    /// First segments on their way from one end of a wire to the other: microseconds' worth.
    pub const ADMITTED: u32 = 16 * 1024;
    /// A kubelet, or a few processes that look like one.
    pub const PROBERS: u32 = 16;
    /// The time between `connect(2)` and its SYN is microseconds; what fails before it stays until it makes room.
    pub const DIALLING: u32 = 1024;
    /// All connections of a kubelet; with any process of the node, as many as still matter: those that are being opened.
    pub const PROBES: u32 = 16 * 1024;
}

/// Value of `PODS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodEntry {
    /// 1: while no listener is there, connections go direct (`open`); 0: they are refused (`closed`).
    pub open_when_agent_down: u8,
    /// [`ExclusionList::bit`] of each list that is not empty: a pod without exclusions pays for no look-up.
    pub excludes: u8,
    /// 1: its DNS queries go to the proxy.
    pub captures_dns: u8,
    /// 1: it may dial only what the registry knows.
    pub registry_only: u8,
    pub reserved: [u8; 4],
}

const _: () = assert!(size_of::<PodEntry>() == 8);

/// Value of `INSTANCE`: what one loaded instance of the programs is told.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// The namespace that the instance serves: a pod's, for `steer` and `guard` cannot ask every kernel for it, or for the
    /// programs of the node as a whole the node's.
    pub netns_cookie: u64,
    /// Bit C of `SO_MARK`.
    pub mark_captured: u32,
    /// Bit A of `SO_MARK`.
    pub mark_agent: u32,
}

const _: () = assert!(size_of::<Instance>() == 16);

/// Value of `AGENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentEntry {
    pub present: u8,
}

/// Key of `ADMITTED`: a packet, by its addresses.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdmittedKey {
    pub netns_cookie: u64,
    pub source: [u8; 16],
    pub destination: [u8; 16],
    /// Network byte order.
    pub source_port: u16,
    /// Network byte order.
    pub destination_port: u16,
    pub reserved: u32,
}

const _: () = assert!(size_of::<AdmittedKey>() == 48);

/// Key of `STOPS`: a pod, and for what something of it was dropped or refused.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StopKey {
    pub netns_cookie: u64,
    /// A [`Counter`](crate::Counter).
    pub counter: u32,
    pub reserved: u32,
}

const _: () = assert!(size_of::<StopKey>() == 16);

/// Key of `LISTENERS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    pub netns_cookie: u64,
    pub slot: Slot,
    pub reserved: u32,
}

const _: () = assert!(size_of::<ListenerKey>() == 16);

/// Which of a pod's listeners, a datagram socket for queries among them. The family is that of the packet: a v4-mapped
/// socket sends IPv4.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    OutboundV4 = 0,
    InboundV4 = 1,
    OutboundV6 = 2,
    InboundV6 = 3,
    DnsV4 = 4,
    DnsV6 = 5,
}

impl PodEntry {
    pub const fn has(self, list: ExclusionList) -> bool {
        self.excludes & list.bit() != 0
    }
}

impl Slot {
    pub const ALL: [Self; 6] =
        [Self::OutboundV4, Self::InboundV4, Self::OutboundV6, Self::InboundV6, Self::DnsV4, Self::DnsV6];

    /// That of the same family for queries.
    pub const fn dns(self) -> Self {
        match self {
            Self::OutboundV4 | Self::InboundV4 | Self::DnsV4 => Self::DnsV4,
            Self::OutboundV6 | Self::InboundV6 | Self::DnsV6 => Self::DnsV6,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::OutboundV4 => "outbound-v4",
            Self::InboundV4 => "inbound-v4",
            Self::OutboundV6 => "outbound-v6",
            Self::InboundV6 => "inbound-v6",
            Self::DnsV4 => "dns-v4",
            Self::DnsV6 => "dns-v6",
        }
    }
}

#[cfg(feature = "user")]
mod user {
    use super::{AgentEntry, Instance, ListenerKey, PodEntry, Slot, StopKey};
    use crate::AddressKey;

    // SAFETY: `repr(C)`, `Copy`, and every byte is a field: there is no padding to leak or to invent.
    unsafe impl aya::Pod for PodEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for Instance {}
    // SAFETY: as above.
    unsafe impl aya::Pod for AgentEntry {}
    // SAFETY: as above.
    unsafe impl aya::Pod for StopKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for AddressKey {}

    /// [`ListenerKey`] as it comes out of the kernel: any number may stand in the slot.
    #[repr(C)]
    #[derive(Clone, Copy, Debug)]
    pub struct RawListenerKey {
        pub netns_cookie: u64,
        pub slot: u32,
        pub reserved: u32,
    }

    // SAFETY: as above.
    unsafe impl aya::Pod for RawListenerKey {}

    impl From<ListenerKey> for RawListenerKey {
        fn from(key: ListenerKey) -> Self {
            Self { netns_cookie: key.netns_cookie, slot: key.slot as u32, reserved: key.reserved }
        }
    }

    impl RawListenerKey {
        pub fn slot(self) -> Option<Slot> {
            Slot::ALL.into_iter().find(|slot| *slot as u32 == self.slot)
        }
    }
}

#[cfg(feature = "user")]
pub use user::RawListenerKey;
