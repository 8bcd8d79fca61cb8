//! What passes without the proxy because somebody says so: a connection that is on one of the pod's lists for its
//! direction.

use abi::{ExclusionList, PodEntry};

#[inline(always)]
pub(crate) fn excludes_outbound(pod: PodEntry, holds: impl Fn(ExclusionList) -> bool) -> bool {
    is_on(pod, ExclusionList::OutboundPorts, &holds) || is_on(pod, ExclusionList::OutboundCidrs, &holds)
}

#[inline(always)]
pub(crate) fn excludes_inbound(pod: PodEntry, holds: impl Fn(ExclusionList) -> bool) -> bool {
    is_on(pod, ExclusionList::InboundPorts, &holds) || is_on(pod, ExclusionList::InboundCidrs, &holds)
}

/// Only a list that the pod has is looked at.
#[inline(always)]
fn is_on(pod: PodEntry, list: ExclusionList, holds: impl Fn(ExclusionList) -> bool) -> bool {
    pod.has(list) && holds(list)
}
