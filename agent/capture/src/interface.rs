//! Interfaces of the namespace that the calling thread is in.

use nix::net::if_::if_indextoname;

/// `None` where there is no such interface, for which nix 0.31 gives an empty name.
pub(crate) fn name(ifindex: u32) -> Option<String> {
    let name = if_indextoname(ifindex).ok()?.into_string().ok()?;
    (!name.is_empty()).then_some(name)
}
