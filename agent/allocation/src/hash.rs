//! What proposes an address for a host: always the same, on whichever node.

use model::ObjectName;
use sha2::{Digest, Sha256};

/// FNV-1a of 32 bits, over `namespace/host`: the one that istiod takes.
pub(crate) fn fnv1a(host: &ObjectName) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    key(host).bytes().fold(0x811c_9dc5, step)
}

/// 128 bits of SHA-256.
pub(crate) fn wide(host: &ObjectName) -> u128 {
    let digest = Sha256::digest(key(host));
    digest.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
}

fn key(host: &ObjectName) -> String {
    host.to_string()
}
