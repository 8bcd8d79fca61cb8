//! A network namespace as a pod has one, with the rule and the route that turn captured traffic over `lo`.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use model::{Enrolment, Exclusions, ExistingConnections, ObjectName, Pod, PodUid, WhenAgentDown};
use netns::Netns;
use rtnetlink::{
    LinkUnspec, RouteMessageBuilder,
    packet_route::{
        route::{RouteScope, RouteType},
        rule::{RuleAction, RuleAttribute},
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::{ProxyConfig, end::End, keepalive::Application, pods::OpenPod};

pub(super) const CAPTURED: u32 = 0x100;
pub(super) const AGENT: u32 = 0x200;

const LO: u32 = 1;
const TABLE: u32 = 100;

pub(super) struct Namespace(Arc<Netns>);

/// Whether these tests can run at all.
pub(super) fn root() -> bool {
    let root = Netns::create().is_ok();
    if !root {
        eprintln!("not run: needs root to create network namespaces");
    }
    root
}

pub(super) fn model_pod(name: &str, ips: &[&str]) -> Pod {
    Pod {
        uid: PodUid::new(name),
        name: ObjectName::new("shop", name),
        node: Some("node-a".into()),
        service_account: "default".into(),
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        runtime_uid: None,
        netns: None,
        enrolment: Enrolment::Enrolled("test".into()),
        terminating: false,
        when_agent_down: WhenAgentDown::Closed,
        existing_connections: ExistingConnections::Keep,
        policed_by: None,
        exclusions: Exclusions::default(),
        refused_exclusions: Vec::new(),
        redirection: None,
        dns: model::PodDns::default(),
        outbound_policy: model::OutboundPolicy::default(),
    }
}

pub(super) async fn connect(socket: Socket, addr: &str) -> io::Result<TcpStream> {
    let addr: SocketAddr = addr.parse().unwrap();
    crate::socket::connect(&socket, addr)?;
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    stream.take_error()?.map_or(Ok(stream), Err)
}

// === impl Namespace ===

impl Namespace {
    /// Nothing in it is up.
    pub(super) fn empty() -> Self {
        Self(Arc::new(Netns::create().unwrap()))
    }

    pub(super) async fn new(addresses: &[&str]) -> Self {
        let namespace = Self::empty();
        let (connection, netlink, _) = namespace.run(rtnetlink::new_connection).unwrap();
        let connection = tokio::spawn(connection);
        let up = LinkUnspec::new_with_index(LO).up().build();
        netlink.link().set(up).execute().await.unwrap();
        for address in addresses {
            let address: IpAddr = address.parse().unwrap();
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            netlink.address().add(LO, address, prefix).execute().await.unwrap();
        }
        let rule = || {
            let mut rule = netlink.rule().add().fw_mark(CAPTURED).table_id(TABLE).action(RuleAction::ToTable);
            rule.message_mut().attributes.push(RuleAttribute::FwMask(CAPTURED));
            rule
        };
        rule().v4().execute().await.unwrap();
        rule().v6().execute().await.unwrap();
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new();
        let v4 = v4.output_interface(LO).table_id(TABLE).scope(RouteScope::Host).kind(RouteType::Local);
        netlink.route().add(v4.build()).execute().await.unwrap();
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new();
        let v6 = v6.output_interface(LO).table_id(TABLE).kind(RouteType::Local);
        netlink.route().add(v6.build()).execute().await.unwrap();
        connection.abort();
        namespace.sysctl("net/ipv4/tcp_fwmark_accept", "1");
        for family in ["ipv4", "ipv6"] {
            namespace.sysctl(&format!("net/{family}/fwmark_reflect"), "1");
            // For the listeners that stand in for steering.
            namespace.sysctl(&format!("net/{family}/ip_nonlocal_bind"), "1");
        }
        namespace
    }

    pub(super) fn netns(&self) -> Arc<Netns> {
        Arc::clone(&self.0)
    }

    pub(super) fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        self.0.run(f).unwrap()
    }

    pub(super) fn sysctl(&self, name: &str, value: &str) {
        self.run(|| fs::write(Path::new("/proc/sys").join(name), value)).unwrap();
    }

    /// An application's listener.
    pub(super) fn listen(&self, ip: &str, port: u16) -> TcpListener {
        let addr = SocketAddr::new(ip.parse().unwrap(), port);
        let listener = self.socket(Domain::for_address(addr), 0);
        listener.set_reuse_address(true).unwrap();
        listener.bind(&addr.into()).unwrap();
        listener.listen(128).unwrap();
        TcpListener::from_std(listener.into()).unwrap()
    }

    pub(super) fn socket(&self, family: Domain, mark: u32) -> Socket {
        let kind = Type::STREAM.nonblocking();
        let socket = self.run(|| Socket::new(family, kind, Some(Protocol::TCP))).unwrap();
        socket.set_mark(mark).unwrap();
        socket
    }

    /// When the socket with these addresses in this namespace will send its next keepalive probe.
    pub(super) fn keepalive(&self, local: SocketAddr, remote: SocketAddr) -> Option<Duration> {
        let name = ObjectName::new("shop", "probe");
        let proxy = super::proxy(ProxyConfig::new(super::marks()), Arc::default());
        let pod =
            OpenPod::new(PodUid::new("probe"), name, self.netns(), vec![], vec![], proxy.shared().accounts());
        Application { pod: Arc::new(pod), local, remote, far: End::Client }.keepalive_left().unwrap()
    }
}
