//! Which exclusion lets a connection pass, and who asked for it.

use std::net::SocketAddr;

use model::{Exclusion, ExclusionList};

use super::{Facts, Kernel};

/// What of one list the kernel holds for the destination.
pub(super) fn entry(kernel: &Kernel, list: ExclusionList, destination: SocketAddr) -> Option<Exclusion> {
    let mut entries = kernel.actual.exclusions.iter();
    entries.find(|entry| entry.list == list && entry.what.covers(destination)).copied()
}

/// The entry of the map, and where it comes from.
pub(super) fn evidence(facts: &Facts<'_>, kernel: &Kernel, destination: SocketAddr) -> (String, String) {
    let in_force = |list: &ExclusionList| kernel.entry.as_ref().is_some_and(|e| e.excludes.contains(list));
    let lists = [ExclusionList::OutboundPorts, ExclusionList::OutboundCidrs];
    let found = lists.into_iter().filter(in_force).find_map(|list| entry(kernel, list, destination));
    let Some(Exclusion { list, what }) = found else {
        return ("no entry of EXCLUSIONS any more".to_owned(), "what is gone by now".to_owned());
    };
    let origin = match facts.pod.exclusions.covering(list, destination) {
        Some((exclusion, origin)) => format!("{}: {}", list.written_in(origin), exclusion.what),
        None => "what nobody asks for any more".to_owned(),
    };
    (format!("EXCLUSIONS[{:#x}, {}] {what}; {origin}", kernel.cookie, list.name()), origin)
}
