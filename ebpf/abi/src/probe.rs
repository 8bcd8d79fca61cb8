//! Probes: connections from the node that captured pods take without the proxy.

/// By what one who probes is known. Key of `PROBERS`, as [`ProberKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prober {
    /// Every process in the node's network namespace.
    Anybody,
    /// A process, by its PID (the kernel says thread group) in [`PID_NAMESPACE`](crate::name::PID_NAMESPACE).
    ThreadGroup(u32),
    /// All processes of a cgroup v2.
    Cgroup(u64),
}

/// Key of `PROBERS`: a [`Prober`] as the programs look for it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProberKey {
    pub kind: u32,
    pub reserved: u32,
    pub id: u64,
}

const _: () = assert!(size_of::<ProberKey>() == 16);

/// Key of `PROBES`: a connection, as its two ends see it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeKey {
    /// On the node. Addresses are as in [`AddressKey`](crate::AddressKey).
    pub client: [u8; 16],
    /// In the pod.
    pub server: [u8; 16],
    /// Host byte order, both.
    pub client_port: u16,
    pub server_port: u16,
}

const _: () = assert!(size_of::<ProbeKey>() == 36);

// === impl Prober ===

impl Prober {
    pub const fn key(self) -> ProberKey {
        let (kind, id) = match self {
            Self::Anybody => (0, 0),
            Self::ThreadGroup(pid) => (1, pid as u64),
            Self::Cgroup(id) => (2, id),
        };
        ProberKey { kind, reserved: 0, id }
    }
}

#[cfg(feature = "user")]
mod user {
    use super::{ProbeKey, ProberKey};

    // SAFETY: `repr(C)`, `Copy`, and every byte is a field: there is no padding to leak or to invent.
    unsafe impl aya::Pod for ProberKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for ProbeKey {}
}
