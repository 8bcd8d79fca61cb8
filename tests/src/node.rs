//! A node: a namespace with a bridge for its pods, a way to the other nodes, and room for an agent.

use std::{
    fs,
    ops::Deref,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::Result;

use crate::{
    Agent, AgentOptions, PodBuilder, Post,
    address::{self, Addresses, Families},
    lab::{Shared, lock},
    netlink::Route,
    place::Place,
};

/// The bridge that pods hang on.
pub(crate) const BRIDGE: &str = "br0";

/// A node of the lab; a cheap handle.
#[derive(Clone, Debug)]
pub struct Node(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    place: Place,
    name: String,
    number: u8,
    next_pod: AtomicU32,
    /// Not the pods themselves: they hold the node.
    pods: Mutex<Vec<Place>>,
}

// === impl Node ===

impl Node {
    pub(crate) fn create(shared: Arc<Shared>, name: &str, number: u8) -> Result<Self> {
        let place = shared.place(name, name)?;
        for (sysctl, value) in [("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1")] {
            place.sysctl(sysctl, value)?;
        }
        let prefixes = address::bridge(number).prefixes(Families::Dual);
        place.within(async |links| {
            links.add_bridge(BRIDGE).await?;
            links.add_addresses(BRIDGE, &prefixes).await
        })?;
        fs::create_dir_all(shared.id.run_dir(name))?;
        let name = name.to_owned();
        let next_pod = AtomicU32::new(2);
        Ok(Self(Arc::new(Inner { shared, place, name, number, next_pod, pods: Mutex::default() })))
    }

    /// Begins a pod; nothing exists before [`PodBuilder::start`].
    pub fn pod(&self, namespace: &str, name: &str) -> PodBuilder {
        PodBuilder::new(self.clone(), namespace, name)
    }

    /// Starts the agent of this node and waits until it is ready.
    pub fn agent(&self, options: AgentOptions) -> Result<Agent> {
        let post = Post {
            place: self.with_cgroup("agent")?,
            node: self.kubernetes_name(),
            source: format!("file:{}", self.0.shared.id.manifests().display()),
            run_dir: self.run_dir(),
            log: self.agent_log(),
        };
        Agent::start(post, options)
    }

    /// `spec.nodeName` of its pods.
    pub fn kubernetes_name(&self) -> String {
        self.0.shared.id.node(&self.0.name)
    }

    /// Where its agent keeps its files.
    pub fn run_dir(&self) -> PathBuf {
        self.0.shared.id.run_dir(&self.0.name)
    }

    /// Where its agent keeps its pins.
    pub fn pin_dir(&self) -> PathBuf {
        PathBuf::from("/sys/fs/bpf/millstream").join(self.kubernetes_name())
    }

    /// What its agent has to say, across restarts.
    pub fn agent_log(&self) -> PathBuf {
        self.0.shared.id.dir().join(&self.0.name).join("agent.log")
    }

    /// Where the pods of this node run.
    pub fn pods(&self) -> Vec<Place> {
        lock(&self.0.pods).clone()
    }

    /// Its own addresses, on the wire.
    pub fn addresses(&self) -> Addresses {
        address::wire(self.0.number).addresses
    }

    pub fn number(&self) -> u8 {
        self.0.number
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn next_pod(&self) -> u32 {
        self.0.next_pod.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn remember(&self, pod: Place) {
        lock(&self.0.pods).push(pod);
    }

    /// The pods of `other` are reached over the wire.
    pub(crate) fn route_to(&self, other: &Self) -> Result<()> {
        let pods = address::network(other.number()).prefixes(Families::Dual);
        let gateways = address::wire(other.number()).addresses.of(Families::Dual);
        self.within(async |links| {
            for (to, gateway) in pods.into_iter().zip(gateways) {
                links.add_route(Route { to, gateway }).await?;
            }
            Ok(())
        })
    }

    /// How to get in, and the end of the agent's log.
    pub(crate) fn autopsy(&self) -> String {
        const LAST_LINES: usize = 60;
        let mut text = format!("  node {}: nsenter --net={}\n", self.0.name, self.netns_path().display());
        for pod in self.pods() {
            text.push_str(&format!("    pod {}: nsenter --net={}\n", pod.name(), pod.netns_path().display()));
        }
        if let Ok(log) = fs::read_to_string(self.agent_log()) {
            let lines: Vec<_> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
                text.push_str(&format!("    agent: {line}\n"));
            }
        }
        text
    }
}

impl Deref for Node {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.0.place
    }
}
