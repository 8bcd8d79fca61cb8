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
    rule::{RuleAction, RuleAttribute, RuleMessage},
};
use netns::Netns;
use nix::libc;
use rtnetlink::{Handle, IpVersion, MulticastGroup, RouteMessageBuilder};
use tokio::{sync::watch, task::JoinHandle};

use crate::{Error, Steering, desired::Family};

/// A netlink socket inside one namespace. The address and link groups are joined, so changes are heard of.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    changes: watch::Receiver<()>,
    tasks: [JoinHandle<()>; 2],
}

// === impl Netlink ===

impl Netlink {
    /// Opens the socket. Must be called inside a tokio runtime.
    pub fn open(netns: &Netns) -> Result<Self, Error> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
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

    /// Marked as changed whenever an address or a link of the namespace changes.
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

    /// The families that have our rule.
    pub async fn rules(&self, steering: &Steering) -> Result<BTreeSet<Family>, Error> {
        let mut families = BTreeSet::new();
        for family in Family::ALL {
            let rules: Vec<RuleMessage> =
                match self.handle.rule().get(version(family)).execute().try_collect().await {
                    Ok(rules) => rules,
                    Err(e) if is_unsupported(&e) => continue,
                    Err(e) => return Err(failed("list rules")(e)),
                };
            let ours = rule(family, steering);
            if rules.iter().any(|found| ours.attributes.iter().all(|a| found.attributes.contains(a))) {
                families.insert(family);
            }
        }
        Ok(families)
    }

    pub async fn add_rule(&self, family: Family, steering: &Steering) -> Result<(), Error> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule(family, steering);
        accept(request.execute().await, libc::EEXIST).map_err(failed("add a rule"))
    }

    pub async fn remove_rule(&self, family: Family, steering: &Steering) -> Result<(), Error> {
        let removed = self.handle.rule().del(rule(family, steering)).execute().await;
        accept(removed, libc::ENOENT).map_err(failed("remove a rule"))
    }

    /// Our routes, with their source addresses.
    pub async fn routes(&self, steering: &Steering) -> Result<BTreeMap<Family, Option<IpAddr>>, Error> {
        let mut routes = BTreeMap::new();
        for family in Family::ALL {
            let mut filter = RouteMessage::default();
            filter.header.address_family = address_family(family);
            let found: Vec<RouteMessage> = match self.handle.route().get(filter).execute().try_collect().await
            {
                Ok(found) => found,
                Err(e) if is_unsupported(&e) => continue,
                Err(e) => return Err(failed("list routes")(e)),
            };
            let table = RouteAttribute::Table(steering.table);
            for route in found.iter().filter(|r| r.attributes.contains(&table)) {
                routes.insert(family, source(route));
            }
        }
        Ok(routes)
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

/// `fwmark C/C lookup T`.
fn rule(family: Family, steering: &Steering) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = address_family(family);
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::Priority(steering.rule_priority),
        RuleAttribute::FwMark(steering.marks.captured),
        RuleAttribute::FwMask(steering.marks.captured),
        RuleAttribute::Table(steering.table),
    ];
    rule
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

fn address_family(family: Family) -> AddressFamily {
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
