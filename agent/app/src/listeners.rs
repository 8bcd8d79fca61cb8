//! Capture meets proxy: the proxy's listeners, in the slots of the map.

use abi::Slot;
use capture::{Listen, Listener, PodSpec};
use model::PodUid;
use proxy::{Listeners, PodNetns, Proxy};

/// The proxy, as capture sees it.
#[derive(Clone, Debug)]
pub struct ProxyListeners(pub Proxy);

impl Listen for ProxyListeners {
    fn listen(&self, pod: &PodSpec) -> Result<Vec<Listener>, String> {
        let opened = self.0.open(PodNetns {
            uid: pod.uid.clone(),
            name: pod.name.clone(),
            netns: pod.netns.clone(),
            addresses: pod.ips.clone(),
        });
        let Listeners { outbound_v4, inbound_v4, outbound_v6, inbound_v6, dns_v4, dns_v6 } =
            opened.map_err(|e| format!("{:#}", anyhow::Error::from(e)))?;
        let slots = [
            (Slot::OutboundV4, outbound_v4),
            (Slot::InboundV4, inbound_v4),
            (Slot::OutboundV6, outbound_v6),
            (Slot::InboundV6, inbound_v6),
            (Slot::DnsV4, dns_v4),
            (Slot::DnsV6, dns_v6),
        ];
        Ok(slots.into_iter().filter_map(|(slot, socket)| Some(Listener { slot, socket: socket? })).collect())
    }

    async fn close(&self, pod: &PodUid) {
        self.0.close(pod).await;
    }
}
