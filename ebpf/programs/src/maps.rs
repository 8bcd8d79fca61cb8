//! The maps, by the names of `abi::name`, one for the node but the last, which each instance has for itself.

use abi::{
    AddressKey, AdmittedKey, AgentEntry, ExclusionKey, ExclusionList, Instance, ListenerKey, PodEntry,
    ProbeKey, Prober, ProberKey, RegistryKey, StopKey, limit,
};
use aya_ebpf::{
    helpers::{bpf_ktime_get_ns, bpf_map_lookup_elem, bpf_sk_release},
    macros::map,
    maps::{
        Array, HashMap, LpmTrie, LruHashMap, LruPerCpuHashMap, PerCpuArray, ProgramArray, SockHash,
        lpm_trie::Key,
    },
    programs::TcContext,
};

#[map]
static PODS: HashMap<u64, PodEntry> = HashMap::with_max_entries(limit::PODS, 0);

#[map]
static ADDRESSES: HashMap<AddressKey, u8> = HashMap::with_max_entries(limit::ADDRESSES, 0);

#[map]
static EXCLUSIONS: LpmTrie<ExclusionKey, u8> = LpmTrie::with_max_entries(limit::EXCLUSIONS, 0);

#[map]
static REGISTRY: LpmTrie<RegistryKey, u8> = LpmTrie::with_max_entries(limit::REGISTRY, 0);

#[map]
pub(crate) static LISTENERS: SockHash<ListenerKey> = SockHash::with_max_entries(limit::LISTENERS, 0);

#[map]
static AGENTS: HashMap<u64, AgentEntry> = HashMap::with_max_entries(limit::AGENTS, 0);

#[map]
static PULSE: Array<u64> = Array::with_max_entries(1, 0);

#[map]
static ADMITTED: LruHashMap<AdmittedKey, u8> = LruHashMap::with_max_entries(limit::ADMITTED, 0);

#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(abi::Counter::ALL.len() as u32, 0);

#[map]
pub(crate) static STOPS: LruPerCpuHashMap<StopKey, u64> = LruPerCpuHashMap::with_max_entries(limit::STOPS, 0);

#[map]
static PROBERS: HashMap<ProberKey, u8> = HashMap::with_max_entries(limit::PROBERS, 0);

#[map]
static DIALLING: LruHashMap<u64, u8> = LruHashMap::with_max_entries(limit::DIALLING, 0);

#[map]
static PROBES: LruHashMap<ProbeKey, u8> = LruHashMap::with_max_entries(limit::PROBES, 0);

#[map]
static VERDICTS: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[map]
static INSTANCE: Array<Instance> = Array::with_max_entries(1, 0);

#[inline(always)]
pub(crate) fn pod(netns_cookie: u64) -> Option<PodEntry> {
    // SAFETY: the entry is copied; user space replaces entries whole.
    unsafe { PODS.get(netns_cookie) }.copied()
}

#[inline(always)]
pub(crate) fn is_own_address(netns_cookie: u64, address: [u8; 16]) -> bool {
    ADDRESSES.get_ptr(AddressKey { netns_cookie, address }).is_some()
}

/// Whether the address or, of a list of ports, the port is on the list.
#[inline(always)]
pub(crate) fn is_excluded(netns_cookie: u64, by: ExclusionList, address: &[u8; 16], port: u16) -> bool {
    match by {
        ExclusionList::OutboundCidrs | ExclusionList::InboundCidrs => {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *address;
            let high = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
            let low = u64::from_ne_bytes([i, j, k, l, m, n, o, p]);
            is_address_excluded(netns_cookie, by, high, low)
        }
        ExclusionList::OutboundPorts | ExclusionList::InboundPorts => {
            is_port_excluded(netns_cookie, by, port)
        }
    }
}

/// A function of its own in the kernel too, with arguments that fit registers, and so is the next: `guard` has no stack
/// to spare, and together they may have 512 bytes, each counted in steps of 32.
#[inline(never)]
fn is_address_excluded(netns_cookie: u64, by: ExclusionList, high: u64, low: u64) -> bool {
    let mut address = [0; 16];
    address[..8].copy_from_slice(&high.to_ne_bytes());
    address[8..].copy_from_slice(&low.to_ne_bytes());
    is_on_list(ExclusionKey::of_address(netns_cookie, by, address))
}

#[inline(never)]
fn is_port_excluded(netns_cookie: u64, by: ExclusionList, port: u16) -> bool {
    is_on_list(ExclusionKey::of_port(netns_cookie, by, port))
}

#[inline(always)]
fn is_on_list(key: ExclusionKey) -> bool {
    EXCLUSIONS.get(&Key::new(ExclusionKey::FIXED_BITS + ExclusionKey::VALUE_BITS, key)).is_some()
}

/// Nobody in the mesh has the address, nor the port of every address. Where the map does not hold all that it should, that
/// is for the proxy to say.
#[inline(always)]
pub(crate) fn is_unregistered(address: [u8; 16], port: u16) -> bool {
    is_registered(RegistryKey::COMPLETE)
        && !is_registered(RegistryKey::of_address(address))
        && !is_registered(RegistryKey::of_port(port))
}

#[inline(always)]
fn is_registered(key: RegistryKey) -> bool {
    REGISTRY.get(&Key::new(RegistryKey::FIXED_BITS + RegistryKey::VALUE_BITS, key)).is_some()
}

#[inline(always)]
pub(crate) fn is_agent(cgroup_id: u64) -> bool {
    AGENTS.get_ptr(cgroup_id).is_some()
}

/// The agent has answered its canary lately.
#[inline(always)]
pub(crate) fn is_alive() -> bool {
    // SAFETY: a plain call.
    let now = unsafe { bpf_ktime_get_ns() };
    PULSE.get(0).is_some_and(|until| now < *until)
}

/// The listener is open, and the agent behind it alive.
#[inline(always)]
pub(crate) fn is_listening(key: &ListenerKey) -> bool {
    if !is_alive() {
        return false;
    }
    let map = (&raw const LISTENERS).cast_mut().cast();
    // SAFETY: `map` is relocated to the map by the loader, and `key` is its key type.
    let socket = unsafe { bpf_map_lookup_elem(map, core::ptr::from_ref(key).cast()) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the look-up took a reference, which ends here.
    unsafe { bpf_sk_release(socket) };
    true
}

#[inline(always)]
pub(crate) fn admit(packet: &AdmittedKey) {
    // Where it fails the backstop drops the packet, and TCP sends it again.
    let _full = ADMITTED.insert(packet, &1, 0);
}

#[inline(always)]
pub(crate) fn is_admitted(packet: &AdmittedKey) -> bool {
    ADMITTED.get_ptr(packet).is_some()
}

#[inline(always)]
pub(crate) fn is_prober(prober: Prober) -> bool {
    PROBERS.get_ptr(prober.key()).is_some()
}

/// Who probes is about to dial with this socket.
#[inline(always)]
pub(crate) fn begin_dialling(socket_cookie: u64) {
    // Where it fails the connection is captured as anybody's.
    let _full = DIALLING.insert(socket_cookie, 1, 0);
}

/// Asked once for each SYN: the next of the same socket may be another caller's.
#[inline(always)]
pub(crate) fn end_dialling(socket_cookie: u64) -> bool {
    DIALLING.remove(socket_cookie).is_ok()
}

#[inline(always)]
pub(crate) fn note_probe(probe: &ProbeKey) -> bool {
    PROBES.insert(probe, &1, 0).is_ok()
}

#[inline(always)]
pub(crate) fn forget_probe(probe: &ProbeKey) {
    let _was_none = PROBES.remove(probe);
}

#[inline(always)]
pub(crate) fn is_probe(probe: &ProbeKey) -> bool {
    PROBES.get_ptr(probe).is_some()
}

/// Goes on with `guard_verdict`, and does not come back.
#[inline(always)]
pub(crate) fn go_on_with_verdict(ctx: &TcContext) {
    // SAFETY: nothing that is to be dropped is held, and the program there takes the same context.
    unsafe { VERDICTS.tail_call(ctx, 0) };
}

/// `None` never: user space writes it before it attaches anything.
#[inline(always)]
pub(crate) fn instance() -> Option<Instance> {
    INSTANCE.get(0).copied()
}
