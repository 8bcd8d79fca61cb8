//! Addresses, rules and routes of one namespace, over one netlink socket that lives there.
//!
//! Sources: rtnetlink(7), <https://docs.kernel.org/networking/policy-routing.html>.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use futures::{StreamExt, TryStreamExt, channel::mpsc::UnboundedReceiver};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{LinkAttribute, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType},
    rule::RuleMessage,
};
use netns::Netns;
use nix::libc;
use rtnetlink::{Handle, IpVersion, MulticastGroup, RouteMessageBuilder};
use tokio::{sync::watch, task::JoinHandle};

use crate::{Error, Family, Steering, collision::Rule};

mod rule;

/// A netlink socket inside one namespace. The link, address and rule groups are joined, so changes are heard of.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    changes: watch::Receiver<()>,
    tasks: [JoinHandle<()>; 2],
}

/// What our table holds.
#[derive(Debug, Default)]
pub struct Table {
    pub ours: BTreeMap<Family, Option<IpAddr>>,
    /// Families with routes that are not ours.
    pub foreign: BTreeSet<Family>,
}

// === impl Netlink ===

impl Netlink {
    /// Opens the socket. Must be called inside a tokio runtime.
    pub fn open(netns: &Netns) -> Result<Self, Error> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ];
        let (connection, handle, messages) = netns
            .run(|| rtnetlink::new_multicast_connection(&groups))?
            .map_err(|e| Error::Netlink { op: "open a socket".to_owned(), reason: e.to_string() })?;
        let (changed, changes) = watch::channel(());
        let tasks = [tokio::spawn(connection), tokio::spawn(notice(messages, changed))];
        Ok(Self { handle, changes, tasks })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Marked as changed whenever a link, an address or a rule of the namespace changes.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.clone()
    }

    /// Every address assigned in the namespace, those of `lo` included.
    pub async fn addresses(&self) -> Result<Vec<IpAddr>, Error> {
        let messages: Vec<AddressMessage> =
            self.handle.address().get().execute().try_collect().await.map_err(failed("list addresses"))?;
        Ok(messages.iter().filter_map(address).collect())
    }

    /// The interfaces of the namespace but `lo`, by index.
    pub async fn interfaces(&self) -> Result<BTreeMap<u32, String>, Error> {
        let links: Vec<LinkMessage> =
            self.handle.link().get().execute().try_collect().await.map_err(failed("list interfaces"))?;
        let name = |link: &LinkMessage| {
            link.attributes.iter().find_map(|a| match a {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            })
        };
        let others = links.iter().filter(|link| link.header.index != abi::LOOPBACK_IFINDEX);
        Ok(others.filter_map(|link| Some((link.header.index, name(link)?))).collect())
    }

    /// Every rule of the namespace, the kernel's and ours included.
    pub async fn rules(&self) -> Result<Vec<Rule>, Error> {
        let mut rules = Vec::new();
        for family in Family::ALL {
            rules.extend(self.rules_of(family).await?);
        }
        Ok(rules)
    }

    async fn rules_of(&self, family: Family) -> Result<Vec<Rule>, Error> {
        let found: Result<Vec<RuleMessage>, _> =
            self.handle.rule().get(version(family)).execute().try_collect().await;
        match found {
            Ok(found) => Ok(found.iter().map(|rule| rule::read(family, rule)).collect()),
            Err(e) if is_unsupported(&e) => Ok(Vec::new()),
            Err(e) => Err(failed("list rules")(e)),
        }
    }

    /// Adds our rule. Those of ours that stand elsewhere go: never is there none.
    pub async fn add_rule(&self, family: Family, steering: &Steering) -> Result<(), Error> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule::ours_at(steering.rule_priority, family, steering);
        accept(request.execute().await, libc::EEXIST).map_err(failed("add a rule"))?;
        let elsewhere = |rule: &Rule| rule.is_ours(steering) && rule.priority != steering.rule_priority;
        for rule in self.rules_of(family).await?.into_iter().filter(elsewhere) {
            self.delete_rule(rule::ours_at(rule.priority, family, steering)).await?;
        }
        Ok(())
    }

    /// Removes our rule, wherever it stands.
    pub async fn remove_rule(&self, family: Family, steering: &Steering) -> Result<(), Error> {
        self.delete_rule(rule::ours(family, steering)).await
    }

    async fn delete_rule(&self, rule: RuleMessage) -> Result<(), Error> {
        let removed = self.handle.rule().del(rule).execute().await;
        accept(removed, libc::ENOENT).map_err(failed("remove a rule"))
    }

    /// The routes of our table, a family each: ours with its source address, and whether there are others.
    pub async fn routes(&self, steering: &Steering) -> Result<Table, Error> {
        let mut table = Table::default();
        for family in Family::ALL {
            let mut filter = RouteMessage::default();
            filter.header.address_family = address_family(family);
            let found: Vec<RouteMessage> = match self.handle.route().get(filter).execute().try_collect().await
            {
                Ok(found) => found,
                Err(e) if is_unsupported(&e) => continue,
                Err(e) => return Err(failed("list routes")(e)),
            };
            let in_table = RouteAttribute::Table(steering.table);
            for route in found.iter().filter(|r| r.attributes.contains(&in_table)) {
                if is_local_default(route) {
                    table.ours.insert(family, source(route));
                } else {
                    table.foreign.insert(family);
                }
            }
        }
        Ok(table)
    }

    /// `local default dev lo table T src SOURCE`, replacing the one with another source.
    pub async fn set_route(&self, family: Family, source: IpAddr, steering: &Steering) -> Result<(), Error> {
        let route = route(family, Some(source), steering);
        self.handle.route().add(route).replace().execute().await.map_err(failed("set a route"))
    }

    pub async fn remove_route(&self, family: Family, steering: &Steering) -> Result<(), Error> {
        let removed = self.handle.route().del(route(family, None, steering)).execute().await;
        accept(removed, libc::ESRCH).map_err(failed("remove a route"))
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Turns the group messages into one bit of news: whoever listens looks again.
async fn notice<A>(
    mut messages: UnboundedReceiver<(netlink_packet_core::NetlinkMessage<RouteNetlinkMessage>, A)>,
    changed: watch::Sender<()>,
) {
    while messages.next().await.is_some() {
        changed.send_replace(());
    }
}

fn address(message: &AddressMessage) -> Option<IpAddr> {
    // IFA_LOCAL is the interface's own address; on point-to-point links IFA_ADDRESS is the peer's.
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|a| match a {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    })
}

fn route(family: Family, source: Option<IpAddr>, steering: &Steering) -> RouteMessage {
    let any = match family {
        Family::V4 => IpAddr::from([0; 4]),
        Family::V6 => IpAddr::from([0; 16]),
    };
    let builder = RouteMessageBuilder::<IpAddr>::new()
        .kind(RouteType::Local)
        .scope(RouteScope::Host)
        .table_id(steering.table)
        .output_interface(abi::LOOPBACK_IFINDEX);
    // Both addresses are of `family`, the only thing that the builder can object to.
    let builder = builder.destination_prefix(any, 0).expect("the unspecified address has a family");
    let builder = match source {
        Some(source) => builder.pref_source(source).expect("the source is of the route's family"),
        None => builder,
    };
    builder.build()
}

/// `local default dev lo`.
fn is_local_default(route: &RouteMessage) -> bool {
    route.header.kind == RouteType::Local
        && route.header.destination_prefix_length == 0
        && route.attributes.contains(&RouteAttribute::Oif(abi::LOOPBACK_IFINDEX))
}

fn source(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|a| match a {
        RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        RouteAttribute::PrefSource(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })
}

fn version(family: Family) -> IpVersion {
    match family {
        Family::V4 => IpVersion::V4,
        Family::V6 => IpVersion::V6,
    }
}

pub(crate) fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// The kernel was started without this family.
fn is_unsupported(e: &rtnetlink::Error) -> bool {
    matches!(errno(e), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP))
}

fn errno(e: &rtnetlink::Error) -> Option<i32> {
    match e {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| -code.get()),
        _ => None,
    }
}

/// Success, or the error that means that the work was done before.
fn accept(result: Result<(), rtnetlink::Error>, done_before: i32) -> Result<(), rtnetlink::Error> {
    match result {
        Err(e) if errno(&e) == Some(done_before) => Ok(()),
        other => other,
    }
}

pub(crate) fn failed(op: &'static str) -> impl Fn(rtnetlink::Error) -> Error {
    move |e| Error::Netlink { op: op.to_owned(), reason: e.to_string() }
}
