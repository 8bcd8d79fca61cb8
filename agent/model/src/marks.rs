//! The two bits of `SO_MARK` that are ours; an application's other bits stay as they are.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Marks {
    /// Bit C, captured: what must turn over `lo` inside the pod.
    pub captured: u32,
    /// Bit A, agent: the proxy's own connections, which leave the pod.
    pub agent: u32,
}

// === impl Marks ===

impl Marks {
    /// Each is one bit, and they differ.
    pub fn is_valid(self) -> bool {
        self.captured.is_power_of_two() && self.agent.is_power_of_two() && self.captured != self.agent
    }
}

impl Default for Marks {
    fn default() -> Self {
        // High bits, away from kube-proxy (0xc000), Cilium (0x0f00), Istio (0xfff) and AWS (0x80).
        Self { captured: 0x1000_0000, agent: 0x2000_0000 }
    }
}
