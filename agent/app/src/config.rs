//! The node's configuration: one YAML file, every field optional.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use capture::Steering;
use control::{EnrolmentConfig, IndexConfig, enrolment::EnablementSelector};
use jiff::SignedDuration;
use model::{OutboundPolicy, WhenAgentDown};
use proxy::ProxyConfig;
use route::SameNode;
use serde::Deserialize;

mod allocation;
mod cni;
mod dns;
mod exclusions;
mod quantity;

pub use self::{
    allocation::{Allocation, AllocationMode},
    cni::Cni,
    dns::Dns,
    exclusions::Exclusions,
    quantity::Quantity,
};

/// What `millstream agent --config FILE` reads.
///
/// ```yaml
/// enrolment:
///   excludeNamespaces: [kube-system]
///   whenAgentDown: closed           # or open: of namespaces without the annotation millstream.dev/when-agent-down
///   enablementSelectors:            # replaces the label istio.io/dataplane-mode
///   - podSelector: {matchLabels: {mesh: "on"}}
/// exclusions:                       # what passes without the proxy, also while no agent runs; for every captured pod
///   exclude-outbound-cidrs: 169.254.169.254/32
///   exclude-outbound-ports: 9100, 8000-8010
///   exclude-inbound-cidrs: ""
///   exclude-inbound-ports: ""
///   # Which of the four pods may add to, by the annotation millstream.dev/exclude-…; default: none, for who may
///   # exclude what he likes steps out of the mesh.
///   allow-overrides: [exclude-inbound-ports]
/// proxy:
///   connect-timeout: 10s
///   idle-timeout: 1h                # default: never
/// limits:                           # a connection beyond them is reset at once
///   connections: 9500               # default: half of the files that the agent may open, less its own
///   connections-per-pod: 9500       # default: what is free; a twentieth is kept for pods that have few
///   buffers: 256Mi                  # of the proxy, in use; beyond it a stream has 4 KiB each way
///   buffers-per-pod: 64Mi           # default: a quarter of buffers
/// drain:
///   release: 1h                     # how long a released pod's captured connections may go on
///   shutdown: 20s                   # how long they may go on after SIGTERM
/// canary:
///   dead-after: 5s                  # an agent that is stuck for so long counts as dead
/// same-node: auto                   # how captured pods of the node reach each other: direct, in one proxy hop that
///                                   # no network policy sees; over the wire, where policies act; auto is wire if a
///                                   # policy may select either pod, else direct
/// outbound-traffic-policy: ALLOW_ANY # what becomes of connections to an address and port that no service has, nor a pod,
///                                   # in namespaces without the annotation millstream.dev/outbound-traffic-policy:
///                                   # ALLOW_ANY, they pass to where they were dialled; REGISTRY_ONLY, they are refused
/// probes: kubelet                   # whose connections from the node to its captured pods pass without the proxy, agent or
///                                   # not: kubelet, a root process named kubelet, kubelite, k3s, k3s-server or k3s-agent in
///                                   # the agent's network and PID namespaces and in no pod's cgroup; node, every process in
///                                   # the node's network namespace, pods with hostNetwork among them; off, nobody's
/// dns:
///   capture: true                   # whether queries go through the proxy, of pods without ambient.istio.io/dns-capture
///   cluster-domain: cluster.local   # what the names of the cluster's services end in
///   ttl: 30s                        # how long an answer of the mesh may be kept
///   allocation:                     # addresses for hosts of ServiceEntries that have none of their own
///     mode: recorded                # what is written down holds: in Kubernetes by `millstream controller`, in a folder by
///                                   # the agents; off: nobody gives any, and what istiod writes down holds; istio-v1:
///                                   # computed, as istiod did before it kept records (PILOT_ENABLE_IP_AUTOALLOCATE=false),
///                                   # where each new host may move others
///     ipv4: 240.240.0.0/16          # prefixes of 8 to 30 bits; an address that was given stays if this changes
///     ipv6: '2001:2::/48'           # prefixes of at most 64 bits
///     quarantine: 1h                # so long nobody else gets the address of a host that is gone
///   resolvers: [192.0.2.53]         # who is asked, from the agent's network namespace, for endpoints that are names;
///                                   # default: the nameservers of the agent's /etc/resolv.conf
/// metrics:
///   port: 15020                     # of the node, for GET /metrics; 0: none
/// cni:                              # left out: no plugin is installed, and pods are captured once they run
///   conf-dir: /etc/cni/net.d        # of the node, as the agent sees it
///   bin-dir: /opt/cni/bin
///   plugin: /usr/local/bin/millstream-cni   # what is copied there
///   state-dir: /var/lib/millstream  # what the plugin goes by while no agent runs; it must survive a reboot
///   own-conflist: false             # a conflist of our own, made from the primary's and sorted before it
///   when-unknown: allow             # while no agent runs, pods of namespaces that are not enrolled start; refuse: they
///                                   # wait, for their own labels may enrol them
///   except: [kube-system]           # namespaces that never wait
///   status-gates-node: false        # whether a node without agent is not ready for any pod
/// startup-taint: false              # removes the taint millstream.dev/agent-not-ready from the node once it is ready
/// steering:
///   marks: {captured: 0x10000000, agent: 0x20000000}
///   table: 15001
///   rule-priority: 100
///   guard-hook: auto                # tcx, or clsact, a tc filter, where the kernel has no TCX (before 6.6)
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub enrolment: Enrolment,
    pub exclusions: Exclusions,
    pub proxy: Proxy,
    pub limits: Limits,
    pub drain: Drain,
    pub canary: Canary,
    #[serde(rename = "same-node")]
    pub same_node: SameNode,
    #[serde(rename = "outbound-traffic-policy")]
    pub outbound_traffic_policy: OutboundPolicy,
    pub probes: Probes,
    pub dns: Dns,
    pub metrics: Metrics,
    pub cni: Option<Cni>,
    #[serde(rename = "startup-taint")]
    pub startup_taint: bool,
    pub steering: Steering,
}

/// Whose connections from the node to its captured pods pass without the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probes {
    #[default]
    Kubelet,
    /// Every process in the node's network namespace.
    Node,
    Off,
}

/// Which pods are captured, as in Istio's `ambient.enablementSelectors` and `excludeNamespaces`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Enrolment {
    pub enablement_selectors: Option<Vec<EnablementSelector>>,
    pub exclude_namespaces: Vec<String>,
    pub when_agent_down: WhenAgentDown,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Proxy {
    pub connect_timeout: SignedDuration,
    pub idle_timeout: Option<SignedDuration>,
    /// How long a connection is idle before the application's wish for keepalive is looked up.
    pub keepalive_probe_after: SignedDuration,
}

/// How much the pods may take of the proxy. Where a field is left out, the rest decides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Limits {
    /// Of all pods together. Each needs two file descriptors of the agent.
    pub connections: Option<usize>,
    /// Of one pod: those that were accepted in its namespace, whoever dialled.
    pub connections_per_pod: Option<usize>,
    /// Memory for what was read and is not yet written, of all pods together.
    pub buffers: Option<Quantity>,
    pub buffers_per_pod: Option<Quantity>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Drain {
    pub release: SignedDuration,
    pub shutdown: SignedDuration,
    /// How long a released pod's listeners stay after its last captured connection has ended: what the kernel
    /// still has in hand for them arrives in this time.
    pub linger: SignedDuration,
}

/// The watch over the agent itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Canary {
    /// A proxy that has not answered for so long is stuck: pods meet what they meet while no agent runs, until it
    /// answers again.
    pub dead_after: SignedDuration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// On all addresses of the node; 0: nobody can ask.
    pub port: u16,
}

/// Far beyond any use, and far from where clocks overflow.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 365);

const SHORTEST_DEAD_AFTER: SignedDuration = SignedDuration::from_millis(200);

// === impl Config ===

impl Config {
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot use {}", path.display()))
    }

    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = serde_saphyr::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let Steering { marks, table, rule_priority, guard_hook: _ } = self.steering;
        ensure!(marks.is_valid(), "steering.marks: captured and agent must be two different single bits");
        ensure!(
            table > 255,
            "steering.table: {table} is taken by the kernel or common use; choose above 255"
        );
        ensure!(rule_priority > 0, "steering.rule-priority: 0 is the kernel's own rule for local addresses");
        for (field, value) in [
            ("proxy.connect-timeout", Some(self.proxy.connect_timeout)),
            ("proxy.idle-timeout", self.proxy.idle_timeout),
            ("proxy.keepalive-probe-after", Some(self.proxy.keepalive_probe_after)),
            ("canary.dead-after", Some(self.canary.dead_after)),
        ] {
            ensure!(value.is_none_or(|v| v.is_positive()), "{field}: must be more than nothing");
            ensure!(value.is_none_or(|v| v <= LONGEST), "{field}: longer than a year");
        }
        for (field, value) in [
            ("drain.release", self.drain.release),
            ("drain.shutdown", self.drain.shutdown),
            ("drain.linger", self.drain.linger),
            ("dns.allocation.quarantine", self.dns.allocation.quarantine),
        ] {
            ensure!(!value.is_negative(), "{field}: must not be negative");
            ensure!(value <= LONGEST, "{field}: {value:#} is longer than a year");
        }
        ensure!(
            self.canary.dead_after >= SHORTEST_DEAD_AFTER,
            "canary.dead-after: less than {SHORTEST_DEAD_AFTER:#}, which any busy moment would outlast"
        );
        self.limits.check()?;
        self.dns.ttl()?;
        self.index().map(drop)
    }

    fn enrolment(&self) -> Result<EnrolmentConfig> {
        let Enrolment { enablement_selectors, exclude_namespaces, when_agent_down } = self.enrolment.clone();
        let mut config = EnrolmentConfig::new(enablement_selectors, exclude_namespaces)?;
        config.when_agent_down = when_agent_down;
        Ok(config)
    }

    /// What the objects of the source are read by.
    pub fn index(&self) -> Result<IndexConfig> {
        Ok(IndexConfig {
            enrolment: self.enrolment()?,
            exclusions: self.exclusions.config()?,
            dns: self.dns.config()?,
            outbound_policy: self.outbound_traffic_policy,
            ..IndexConfig::default()
        })
    }

    /// For a process that may have `files` open.
    pub fn proxy(&self, files: u64) -> Result<ProxyConfig> {
        Ok(ProxyConfig {
            limits: self.limits.within(files)?,
            connect_timeout: positive(self.proxy.connect_timeout),
            idle_timeout: self.proxy.idle_timeout.map(positive),
            keepalive_probe_after: Some(positive(self.proxy.keepalive_probe_after)),
            same_node: self.same_node,
            dns_ttl: self.dns.ttl()?,
            resolvers: self.dns.resolvers.iter().map(|resolver| resolver.0).collect(),
            ..ProxyConfig::new(self.steering.marks)
        })
    }
}

// === impl Enrolment ===

impl Default for Enrolment {
    fn default() -> Self {
        Self {
            enablement_selectors: None,
            exclude_namespaces: vec!["kube-system".to_owned()],
            when_agent_down: WhenAgentDown::Closed,
        }
    }
}

// === impl Proxy ===

impl Default for Proxy {
    fn default() -> Self {
        Self {
            connect_timeout: SignedDuration::from_secs(10),
            idle_timeout: None,
            keepalive_probe_after: SignedDuration::from_secs(15),
        }
    }
}

// === impl Limits ===

impl Limits {
    fn check(&self) -> Result<()> {
        let Self { connections, connections_per_pod, buffers, buffers_per_pod } = *self;
        let buffers = buffers.map(Quantity::bytes);
        let buffers_per_pod = buffers_per_pod.map(Quantity::bytes);
        for (field, value) in [
            ("limits.connections", connections),
            ("limits.connections-per-pod", connections_per_pod),
            ("limits.buffers", buffers),
            ("limits.buffers-per-pod", buffers_per_pod),
        ] {
            ensure!(value != Some(0), "{field}: must be more than nothing");
        }
        for (field, whole, part) in [
            ("limits.connections", connections, connections_per_pod),
            ("limits.buffers", buffers, buffers_per_pod),
        ] {
            let (Some(whole), Some(part)) = (whole, part) else { continue };
            ensure!(part <= whole, "{field}-per-pod: {part} is more than {field}, {whole}");
        }
        Ok(())
    }

    /// What they amount to in a process that may have `files` open.
    fn within(&self, files: u64) -> Result<proxy::Limits> {
        let most = proxy::Limits::for_files(files);
        let connections = self.connections.unwrap_or(most.connections);
        ensure!(
            connections <= most.connections,
            "limits.connections: {connections} are more than {}, for which the {files} files suffice that the agent \
             may open; raise its hard limit (`ulimit -Hn`, `LimitNOFILE=`) or lower the setting",
            most.connections
        );
        let buffer_bytes = self.buffers.map_or(most.buffer_bytes, Quantity::bytes);
        let quarter = buffer_bytes.div_ceil(4);
        Ok(proxy::Limits {
            connections,
            connections_per_pod: self.connections_per_pod.map_or(connections, |pod| pod.min(connections)),
            buffer_bytes,
            buffer_bytes_per_pod: self.buffers_per_pod.map_or(quarter, |pod| pod.bytes().min(buffer_bytes)),
        })
    }
}

// === impl Drain ===

impl Default for Drain {
    fn default() -> Self {
        Self {
            release: SignedDuration::from_hours(1),
            // Within the 30 s that Kubernetes gives a pod to end.
            shutdown: SignedDuration::from_secs(20),
            linger: SignedDuration::from_millis(500),
        }
    }
}

// === impl Canary ===

impl Default for Canary {
    fn default() -> Self {
        // Long enough for a node that is short of CPU, short enough for a client that waits.
        Self { dead_after: SignedDuration::from_secs(5) }
    }
}

// === impl Metrics ===

impl Default for Metrics {
    fn default() -> Self {
        // Where Istio serves those of a workload.
        Self { port: 15020 }
    }
}

/// A duration that [`Config::check`] has found not to be negative.
pub fn positive(duration: SignedDuration) -> Duration {
    duration.unsigned_abs()
}

#[cfg(test)]
mod tests;
