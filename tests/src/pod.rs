//! A pod: a namespace on the bridge of its node, a cgroup, and a manifest that announces it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Deref,
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result};

use crate::{
    address::{self, Addresses, Families},
    cgroup,
    crowd::Crowd,
    lab::lock,
    manifest::{self, Labels, PodObject},
    namespace,
    netlink::{Route, Veth},
    node::{BRIDGE, Node},
    peer::{Client, Load, Mode, Server},
    place::Place,
    process::Process,
};

/// A running pod; a cheap handle.
#[derive(Clone, Debug)]
pub struct Pod(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: Node,
    place: Place,
    addresses: Addresses,
    object: Mutex<PodObject>,
    /// The end of its veth on the node.
    host_link: String,
}

/// A pod that is being described.
#[derive(Debug)]
#[must_use = "a pod exists only after `start`"]
pub struct PodBuilder {
    node: Node,
    namespace: String,
    name: String,
    labels: Labels,
    annotations: Labels,
    service_account: String,
    families: Families,
    hostname: Option<(String, String)>,
    resolver: Option<IpAddr>,
    ports: Vec<(String, u16)>,
}

// === impl PodBuilder ===

impl PodBuilder {
    pub(crate) fn new(node: Node, namespace: &str, name: &str) -> Self {
        Self {
            node,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: Labels::new(),
            annotations: Labels::new(),
            service_account: "default".to_owned(),
            families: Families::Dual,
            hostname: None,
            resolver: None,
            ports: Vec::new(),
        }
    }

    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn service_account(mut self, name: &str) -> Self {
        name.clone_into(&mut self.service_account);
        self
    }

    pub fn families(mut self, families: Families) -> Self {
        self.families = families;
        self
    }

    /// Its name below that of a headless service, as a pod of a StatefulSet has it.
    pub fn hostname(mut self, name: &str, subdomain: &str) -> Self {
        self.hostname = Some((name.to_owned(), subdomain.to_owned()));
        self
    }

    /// What its programs find in `/etc/resolv.conf`: this resolver, and what the kubelet writes there.
    pub fn resolver(mut self, resolver: IpAddr) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// A named container port, for services whose `targetPort` is a name.
    pub fn port(mut self, name: &str, number: u16) -> Self {
        self.ports.push((name.to_owned(), number));
        self
    }

    /// Makes the network, then announces the pod, as a kubelet does.
    pub fn start(self) -> Result<Pod> {
        let pod = self.start_unannounced()?;
        pod.announce()?;
        Ok(pod)
    }

    /// Makes the network only; [`Pod::announce`] tells the agents.
    pub fn start_unannounced(self) -> Result<Pod> {
        let Self {
            node,
            namespace,
            name,
            labels,
            annotations,
            service_account,
            families,
            hostname,
            resolver,
            ports,
        } = self;
        let number = node.next_pod();
        let subnet = address::pod(node.number(), number)?;
        let mut place = node.shared().place(&name, &format!("{}/{name}", node.name()))?;
        if let Some(resolver) = resolver {
            let domain = "svc.cluster.local";
            let text = format!(
                "search {namespace}.{domain} {domain} cluster.local\nnameserver {resolver}\noptions ndots:5\n"
            );
            let file = node.shared().id.dir().join(format!("{}-{name}.resolv.conf", node.name()));
            place = place.with_resolv_conf(&file, &text)?;
        }
        let host_link = format!("pod{number}");

        let veth = Veth { name: &host_link, bridge: BRIDGE, far_name: "eth0", far_netns: place.netns() };
        node.within(async |links| links.add_veth(veth).await)?;
        let gateways = address::bridge(node.number()).addresses.of(families);
        place.within(async |links| {
            links.up("eth0").await?;
            links.add_addresses("eth0", &subnet.prefixes(families)).await?;
            for gateway in gateways {
                links.add_route(Route::default_by(gateway)).await?;
            }
            Ok(())
        })?;

        let object = PodObject {
            uid: node.shared().next_uid(),
            node: node.kubernetes_name(),
            netns: place.netns_path().to_owned(),
            ips: subnet.addresses.of(families),
            namespace,
            name,
            labels,
            annotations,
            service_account,
            hostname,
            ports,
        };
        node.remember(place.clone());
        let inner = Inner { node, place, addresses: subnet.addresses, object: Mutex::new(object), host_link };
        Ok(Pod(Arc::new(inner)))
    }
}

// === impl Pod ===

impl Pod {
    /// Writes the manifest, or writes it anew.
    pub fn announce(&self) -> Result<()> {
        let object = self.object();
        self.0.node.shared().need_namespace(&object.namespace)?;
        self.0.node.shared().id.write_object(&manifest::pod(&object))
    }

    /// Takes the manifest away, as if the API server had forgotten the pod. Its network stays.
    pub fn withdraw(&self) -> Result<()> {
        self.0.node.shared().id.remove_manifest(&manifest::file_name(&manifest::pod(&self.object())))
    }

    /// Takes the network away, with all processes in it, as a CNI DEL does. The manifest stays.
    pub fn destroy_network(&self) -> Result<()> {
        cgroup::kill(self.cgroup())?;
        self.0.node.within(async |links| links.delete(&self.0.host_link).await)?;
        namespace::remove(self.netns_path())
    }

    /// Sets or, with `None`, removes a label.
    pub fn label(&self, key: &str, value: Option<&str>) -> Result<()> {
        self.edit(|object| manifest::set_label(&mut object.labels, key, value))
    }

    pub fn annotate(&self, key: &str, value: Option<&str>) -> Result<()> {
        self.edit(|object| manifest::set_label(&mut object.annotations, key, value))
    }

    /// Changes anything in the manifest, and announces it.
    pub fn edit(&self, edit: impl FnOnce(&mut PodObject)) -> Result<()> {
        edit(&mut lock(&self.0.object));
        self.announce()
    }

    /// Gives eth0 another address, which no manifest mentions.
    pub fn add_address(&self, ip: IpAddr) -> Result<()> {
        let length = if ip.is_ipv4() { 32 } else { 128 };
        self.within(async |links| links.add_address("eth0", ip, length).await)
    }

    pub fn delete_address(&self, ip: IpAddr) -> Result<()> {
        let length = if ip.is_ipv4() { 32 } else { 128 };
        self.within(async |links| links.delete_address("eth0", ip, length).await)
    }

    pub fn node(&self) -> &Node {
        &self.0.node
    }

    pub fn v4(&self) -> Ipv4Addr {
        self.0.addresses.v4
    }

    pub fn v6(&self) -> Ipv6Addr {
        self.0.addresses.v6
    }

    /// `status.podIPs`.
    pub fn ips(&self) -> Vec<IpAddr> {
        lock(&self.0.object).ips.clone()
    }

    pub fn uid(&self) -> String {
        lock(&self.0.object).uid.clone()
    }

    /// `namespace/name`, as the command line wants it.
    pub fn full_name(&self) -> String {
        let object = lock(&self.0.object);
        format!("{}/{}", object.namespace, object.name)
    }

    pub fn object(&self) -> PodObject {
        lock(&self.0.object).clone()
    }

    /// Starts a server on all addresses of the pod and waits until it listens.
    pub fn serve(&self, mode: Mode, port: u16) -> Result<Server> {
        let all: IpAddr = match self.ips().iter().any(IpAddr::is_ipv6) {
            // Takes IPv4 as well.
            true => Ipv6Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::UNSPECIFIED.into(),
        };
        self.serve_at(mode, SocketAddr::new(all, port), &[])
    }

    pub fn serve_at(&self, mode: Mode, addr: SocketAddr, args: &[&str]) -> Result<Server> {
        Server::start(self, mode, addr, args).with_context(|| format!("no {mode} server in {}", self.name()))
    }

    /// Starts a client, `peer dial ADDR ARGS…`.
    pub fn dial(&self, addr: SocketAddr, args: &[&str]) -> Result<Client> {
        Client::start(self, &[], addr, args)
    }

    /// The same as root with none but these capabilities: `net_raw`.
    pub fn dial_with(&self, capabilities: &[&str], addr: SocketAddr, args: &[&str]) -> Result<Client> {
        let only: String = capabilities.iter().map(|capability| format!(",+{capability}")).collect();
        let bounding = format!("--bounding-set=-all{only}");
        Client::start(self, &["setpriv", &bounding, "--inh-caps=-all", "--"], addr, args)
    }

    /// The same by a process of another cgroup.
    pub fn dial_in(&self, cgroup: &Path, addr: SocketAddr, args: &[&str]) -> Result<Client> {
        let enter = format!("echo 0 > {}/cgroup.procs && exec \"$@\"", cgroup.display());
        Client::start(self, &["sh", "-c", &enter, "sh"], addr, args)
    }

    /// The same as this user.
    pub fn dial_as(&self, uid: u32, addr: SocketAddr, args: &[&str]) -> Result<Client> {
        let user = format!("--reuid={uid}");
        Client::start(self, &["setpriv", &user, "--clear-groups", "--"], addr, args)
    }

    /// Starts a resolver (dnsmasq) at its address, which knows what the arguments say, and waits until it listens.
    pub fn resolve(&self, records: &[&str]) -> Result<Process> {
        let address = format!("--listen-address={},{}", self.v4(), self.v6());
        let plain = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"];
        let quiet = ["--user=root", "--pid-file=", "--bind-interfaces", "--log-facility=-"];
        let args: Vec<&str> =
            plain.into_iter().chain(quiet).chain([&*address]).chain(records.iter().copied()).collect();
        let resolver = self.spawn(&args)?;
        let probe = format!("@{}", self.v4());
        let mut probed = self.run(&["dig", "+tries=1", "+time=1", &probe, "localhost"])?;
        for _ in 0..60 {
            if probed.status.success() {
                return Ok(resolver);
            }
            probed = self.run(&["dig", "+tries=1", "+time=1", &probe, "localhost"])?;
        }
        anyhow::bail!("the resolver does not answer: {}", probed.any_stdout())
    }

    /// Opens short connections to an echo server, one after the other, until stopped.
    pub fn load(&self, addr: SocketAddr, args: &[&str]) -> Result<Load> {
        Load::start(self, addr, args)
    }

    /// Opens many connections to a server of mode `echo` or `crowd`, and holds them.
    pub fn crowd(&self, addr: SocketAddr, connections: usize, args: &[&str]) -> Result<Crowd> {
        Crowd::start(self, addr, connections, args)
    }
}

impl Deref for Pod {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.0.place
    }
}
