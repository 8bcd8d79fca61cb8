//! The other ends of a pod's interfaces, where those are wires (veth, netkit) that end in our own namespace.

use std::os::fd::{AsFd, AsRawFd};

use futures::{StreamExt, TryStreamExt};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
    nsid::{NsidAttribute, NsidMessage},
};
use netns::Netns;

use crate::{
    Error, interface,
    netlink::{Netlink, failed},
};

/// The node's end of a pod's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostEnd {
    pub(crate) ifindex: u32,
    pub(crate) name: String,
}

// === impl Netlink ===

impl Netlink {
    /// The ends in `home`, the namespace of the calling thread, of the interfaces in this one.
    pub(crate) async fn host_ends(&self, home: &Netns) -> Result<Vec<HostEnd>, Error> {
        let Some(home) = self.id_of(home).await? else {
            return Ok(Vec::new());
        };
        let links: Vec<LinkMessage> =
            self.handle().link().get().execute().try_collect().await.map_err(failed("list interfaces"))?;
        Ok(links.iter().filter_map(|link| peer_in(home, link)).filter_map(named).collect())
    }

    /// By which number this namespace knows another; `None` where it has no wire to it.
    async fn id_of(&self, other: &Netns) -> Result<Option<i32>, Error> {
        let fd = other.as_fd().as_raw_fd().cast_unsigned();
        let mut question = NsidMessage::default();
        question.attributes.push(NsidAttribute::Fd(fd));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(question));
        request.header.flags = NLM_F_REQUEST;
        let asked = self.handle().clone().request(request).map_err(failed("look for our own namespace"));
        let answer = asked?.next().await.map(|answer| answer.payload);
        let Some(NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer))) = answer else {
            return Ok(None);
        };
        let id = answer.attributes.iter().find_map(|attribute| match attribute {
            NsidAttribute::Id(id) => Some(*id),
            _ => None,
        });
        // -1: not assigned.
        Ok(id.filter(|id| *id >= 0))
    }
}

fn peer_in(netns: i32, link: &LinkMessage) -> Option<u32> {
    let is_there = link.attributes.contains(&LinkAttribute::LinkNetNsId(netns));
    let peer = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(ifindex) => Some(*ifindex),
        _ => None,
    });
    peer.filter(|_| is_there)
}

/// `None`: gone since.
fn named(ifindex: u32) -> Option<HostEnd> {
    interface::name(ifindex).map(|name| HostEnd { ifindex, name })
}
