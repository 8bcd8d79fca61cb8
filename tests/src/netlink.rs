//! Links, addresses and routes.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use anyhow::{Context, Result};
use futures::TryStreamExt;
use netns::Netns;
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        address::{AddressHeaderFlags, AddressMessage},
        link::{InfoData, InfoVeth},
        route::RouteMessage,
    },
};

/// A veth pair: one end here on a bridge, the other in another namespace.
pub(crate) struct Veth<'a> {
    pub(crate) name: &'a str,
    pub(crate) bridge: &'a str,
    pub(crate) far_name: &'a str,
    pub(crate) far_netns: &'a Netns,
}

/// One family's route.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub(crate) to: (IpAddr, u8),
    pub(crate) gateway: IpAddr,
}

/// Runs `f` with a netlink connection into `netns`.
pub(crate) fn within<T>(netns: &Netns, f: impl AsyncFnOnce(Links) -> Result<T>) -> Result<T> {
    netns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            f(Links(handle)).await
        })
    })?
}

/// Writes a sysctl of `netns`, named like the file: `net/ipv4/ip_forward`.
pub(crate) fn sysctl(netns: &Netns, name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(name);
    netns.run(|| fs::write(&path, value))?.with_context(|| format!("cannot set {}", path.display()))
}

/// The links of one namespace.
pub(crate) struct Links(Handle);

// === impl Links ===

impl Links {
    pub(crate) async fn up(&self, name: &str) -> Result<()> {
        let message = LinkUnspec::new_with_name(name).up().build();
        self.0.link().set(message).execute().await.with_context(|| format!("cannot set {name} up"))
    }

    pub(crate) async fn add_bridge(&self, name: &str) -> Result<()> {
        let message = LinkBridge::new(name).up().build();
        self.0.link().add(message).execute().await.with_context(|| format!("cannot add the bridge {name}"))
    }

    /// The far end is left down: the kernel sets it up only once both ends exist.
    pub(crate) async fn add_veth(&self, veth: Veth<'_>) -> Result<()> {
        let Veth { name, bridge, far_name, far_netns } = veth;
        let bridge = self.index(bridge).await?;
        let far = LinkMessageBuilder::<LinkUnspec>::new()
            .name(far_name)
            .setns_by_fd(far_netns.as_fd().as_raw_fd())
            .build();
        let near = LinkVeth::new(name, far_name)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far)))
            .controller(bridge)
            .up()
            .build();
        self.0.link().add(near).execute().await.with_context(|| format!("cannot add the veth {name}"))
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        let index = self.index(name).await?;
        self.0.link().del(index).execute().await.with_context(|| format!("cannot delete {name}"))
    }

    /// Adds addresses that are usable at once, without duplicate address detection.
    pub(crate) async fn add_addresses(&self, name: &str, prefixes: &[(IpAddr, u8)]) -> Result<()> {
        for (ip, length) in prefixes.iter().copied() {
            self.add_address(name, ip, length).await?;
        }
        Ok(())
    }

    pub(crate) async fn add_address(&self, name: &str, ip: IpAddr, length: u8) -> Result<()> {
        let index = self.index(name).await?;
        let mut request = self.0.address().add(index, ip, length);
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        request.execute().await.with_context(|| format!("cannot add {ip}/{length} to {name}"))
    }

    pub(crate) async fn delete_address(&self, name: &str, ip: IpAddr, length: u8) -> Result<()> {
        let index = self.index(name).await?;
        let message = address_message(index, ip, length);
        self.0.address().del(message).execute().await.with_context(|| format!("cannot delete {ip} of {name}"))
    }

    pub(crate) async fn add_route(&self, route: Route) -> Result<()> {
        let message = route.message()?;
        let Route { to: (ip, length), gateway } = route;
        let adding = self.0.route().add(message).execute().await;
        adding.with_context(|| format!("cannot add a route to {ip}/{length} by {gateway}"))
    }

    async fn index(&self, name: &str) -> Result<u32> {
        let links = self.0.link().get().match_name(name).execute();
        let link = std::pin::pin!(links).try_next().await.with_context(|| format!("no link {name}"))?;
        Ok(link.with_context(|| format!("no link {name}"))?.header.index)
    }
}

// === impl Route ===

impl Route {
    /// The default route of a gateway's family.
    pub(crate) fn default_by(gateway: IpAddr) -> Self {
        let any = match gateway {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self { to: (any, 0), gateway }
    }

    fn message(self) -> Result<RouteMessage> {
        let Self { to: (ip, length), gateway } = self;
        Ok(RouteMessageBuilder::<IpAddr>::new().destination_prefix(ip, length)?.gateway(gateway)?.build())
    }
}

fn address_message(index: u32, ip: IpAddr, length: u8) -> AddressMessage {
    match ip {
        IpAddr::V4(ip) => AddressMessageBuilder::<Ipv4Addr>::new().index(index).address(ip, length).build(),
        IpAddr::V6(ip) => AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(ip, length).build(),
    }
}
