//! The cluster, what runs on it, and one measurement.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cluster::{Cluster, IMAGE};
use harness::{Count, Crowd, Load, Process, peer_program};
use serde_json::Value;

use crate::scenario::Scenario;

pub(crate) const NAMESPACE: &str = "shop";
pub(crate) const IN_NAMESPACE: &str = "--namespace=shop";
const REDIRECTION: &str = "ambient.istio.io/redirection";
const CLIENT: &str = "client";
const SERVERS: [&str; 2] = ["near", "far"];
const ECHO: u16 = 7;

/// Long connections to each server, and new ones a second.
pub(crate) const LONG: usize = 20;
pub(crate) const FRESH: u32 = 50;
/// How long new connections are watched before the disturbance.
const BEFORE: Duration = Duration::from_secs(1);

pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    /// How long Helm took until all agents were ready; `None`: they are not installed.
    pub(crate) installed: Option<Duration>,
    servers: [SocketAddr; 2],
    /// The client's network, as its node names it: what runs there needs neither kubelet nor API server to go on.
    client: String,
}

/// What a scenario did.
pub(crate) struct Found {
    /// To the server on the same node, and to the one on the other.
    pub(crate) ways: [Way; 2],
    /// From the beginning of the disturbance until all was as it should be.
    pub(crate) took: Duration,
    /// Restarts of containers, and pods that were not ready in between.
    pub(crate) restarts: u64,
    pub(crate) unready: usize,
}

pub(crate) struct Way {
    pub(crate) long: Count,
    pub(crate) fresh: u64,
    pub(crate) failed: u64,
    /// By call and error.
    pub(crate) failures: BTreeMap<String, u64>,
    /// The slowest of the new ones, in milliseconds.
    pub(crate) slowest: f64,
}

/// The connections to one server while they are watched.
struct Watched {
    crowd: Crowd,
    load: Load,
}

// === impl Stage ===

impl Stage {
    pub(crate) fn build() -> Result<Self> {
        let cluster = Cluster::start("disruption")?;
        let [near, far] = ["n1", "n2"].map(|node| cluster.node(node).map(|node| node.name().to_owned()));
        let manifests = include_str!("shop.yaml").replace("IMAGE", IMAGE);
        cluster.apply(&manifests.replace("NEAR", &near?).replace("FAR", &far?))?;
        cluster.wait(&["--for=condition=Ready", "pod", "--all", IN_NAMESPACE])?;
        let address = |pod| {
            let get = ["get", "pod", pod, IN_NAMESPACE, "--output=jsonpath={.status.podIP}"];
            anyhow::Ok(cluster.kubectl(&get)?.stdout()?.parse::<IpAddr>()?)
        };
        let [near, far] = SERVERS.map(address);
        let servers = [SocketAddr::new(near?, ECHO), SocketAddr::new(far?, ECHO)];
        let script = format!(
            "for netns in /run/netns/cni-*; do \
             nsenter --net=$netns ip -oneline address | grep -qF ' {}/' && echo $netns; done; true",
            address(CLIENT)?
        );
        let client = cluster.node("n1")?.run(&["sh", "-c", &script])?.stdout()?.to_owned();
        ensure!(!client.is_empty(), "the network of the client was not found on n1");
        Ok(Self { cluster, installed: None, servers, client })
    }

    pub(crate) fn measure(&mut self, scenario: Scenario, seconds: u64) -> Result<Found> {
        self.install()?;
        self.label(scenario.begins_captured())?;
        let before = self.pods()?;
        let [near, far] = self.servers.map(|addr| self.watch(addr));
        let watched = [near?, far?];
        thread::sleep(BEFORE);
        let begin = Instant::now();
        scenario.act(self)?;
        let took = begin.elapsed();
        thread::sleep(Duration::from_secs(seconds));
        let [near, far] = watched.map(Watched::end);
        let after = self.pods()?;
        let restarts = |pods: &[Value]| pods.iter().map(restarts).sum::<u64>();
        let unready =
            before.iter().zip(&after).filter(|(before, after)| ready_since(before) != ready_since(after));
        Ok(Found {
            ways: [near?, far?],
            took,
            restarts: restarts(&after) - restarts(&before),
            unready: unready.count(),
        })
    }

    /// Labels the namespace or takes the label away, and waits until all pods are annotated accordingly.
    pub(crate) fn label(&self, captured: bool) -> Result<()> {
        self.set_label(captured)?;
        let wanted = captured.then_some("enabled");
        loop {
            let pods = self.pods()?;
            if pods.iter().all(|pod| pod["metadata"]["annotations"][REDIRECTION].as_str() == wanted) {
                return Ok(());
            }
        }
    }

    pub(crate) fn set_label(&self, captured: bool) -> Result<()> {
        let label = if captured { "istio.io/dataplane-mode=ambient" } else { "istio.io/dataplane-mode-" };
        self.cluster.kubectl(&["label", "--overwrite", "namespace", NAMESPACE, label])?.stdout().map(drop)
    }

    /// New connections to the server on the same node, so many a second, until it is stopped.
    pub(crate) fn load(&self, rate: &str) -> Result<Load> {
        let addr = self.servers[0].to_string();
        Load::of(self.peer(&["load", &addr, "--workers", "8", "--rate", rate])?)
    }

    fn watch(&self, addr: SocketAddr) -> Result<Watched> {
        let (addr, long, fresh) = (addr.to_string(), LONG.to_string(), FRESH.to_string());
        let crowd = ["crowd", &addr, "--connections", &long, "--conduct", "ping"];
        let mut crowd = Crowd::of(self.peer(&crowd)?);
        crowd.standing()?;
        let load = ["load", &addr, "--workers", "8", "--rate", &fresh];
        Ok(Watched { crowd, load: Load::of(self.peer(&load)?)? })
    }

    /// `peer ARGS` in the client's network.
    fn peer(&self, args: &[&str]) -> Result<Process> {
        let program = peer_program()?.display().to_string();
        let enter = ["nsenter".to_owned(), format!("--net={}", self.client), program];
        let args: Vec<_> = enter.into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect();
        self.cluster.node("n1")?.machine().spawn(&args)
    }

    /// In name order.
    fn pods(&self) -> Result<Vec<Value>> {
        let list = self.cluster.kubectl(&["get", "pods", IN_NAMESPACE, "--output=json"])?.json()?;
        Ok(list["items"].as_array().context("no list of pods")?.clone())
    }
}

// === impl Watched ===

impl Watched {
    fn end(self) -> Result<Way> {
        let Self { mut crowd, load } = self;
        let told = load.stop()?;
        let failures = told["failures"].as_object().into_iter().flatten();
        let failures: BTreeMap<_, _> =
            failures.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))).collect();
        Ok(Way {
            long: crowd.exchange()?,
            fresh: told["connections"].as_u64().unwrap_or_default(),
            failed: failures.values().sum(),
            failures,
            slowest: told["slowest_ms"].as_f64().unwrap_or_default(),
        })
    }
}

fn restarts(pod: &Value) -> u64 {
    let containers = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    containers.filter_map(|container| container["restartCount"].as_u64()).sum()
}

fn ready_since(pod: &Value) -> Option<&str> {
    let mut conditions = pod["status"]["conditions"].as_array()?.iter();
    conditions.find(|condition| condition["type"] == "Ready")?["lastTransitionTime"].as_str()
}
