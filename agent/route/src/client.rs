//! Who dials, as far as the destination depends on it.

use model::{OutboundPolicy, Pod, Service};

#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    pub node: &'a str,
    /// Services may be visible to some namespaces only.
    pub namespace: &'a str,
    pub outbound_policy: OutboundPolicy,
}

// === impl Client ===

impl<'a> Client<'a> {
    /// The pod, on this node.
    pub fn pod(pod: &'a Pod, node: &'a str) -> Self {
        Self { node, namespace: &pod.name.namespace, outbound_policy: pod.outbound_policy }
    }

    /// Whether the service is visible to it. What is not is to it as if it did not exist.
    pub(crate) fn sees(&self, service: &Service) -> bool {
        service.visibility.includes(self.namespace)
    }
}
