//! A cluster, from the first certificate to the last trace of it.

use std::{
    fs,
    io::{self, Write},
    panic,
    path::{Path, PathBuf},
    thread::{self, ScopedJoinHandle},
};

use anyhow::{Context, Result};
use harness::{Lab, LabId, Output, PATIENCE, Process};

use crate::{
    control_plane::{ControlPlane, server},
    image, kubeconfig,
    node::{Membership, Node},
    pki::Pki,
    standing,
};

/// A running cluster; dropping it removes everything.
#[derive(Debug)]
pub struct Cluster {
    /// The first to be dropped: it ends whatever runs, after a look at it was possible.
    lab: Option<Lab>,
    control: ControlPlane,
    nodes: Vec<Node>,
}

const NODES: [&str; 2] = ["n1", "n2"];
const CONTROL: &str = "control";
/// The name under which a token of the agents' service account would make them known.
const AGENT: &str = "system:serviceaccount:millstream-system:millstream";
const AGENT_KUBECONFIG: &str = "agent.kubeconfig";
const MANIFESTS: &str = include_str!("../../../daemonset/millstream.yaml");
/// What of the manifests gives the agents their rights. The rest is for agents that are pods, where here they are ordinary
/// processes with a certificate, which says nothing of a node.
const RIGHTS: [&str; 6] =
    ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];

// === impl Cluster ===

impl Cluster {
    /// A control plane and two nodes, `n1` and `n2`, both ready. `name` is one word of lower-case letters and digits.
    pub fn start(name: &str) -> Result<Self> {
        Self::with_nodes(Lab::new(name)?, &NODES)
    }

    /// A control plane alone: pods are never run, but everything else is as in a whole cluster.
    pub fn api(name: &str) -> Result<Self> {
        Self::with_nodes(Lab::new(name)?, &[])
    }

    /// A cluster of two nodes that can be left standing with [`Self::leave`].
    pub fn standing(name: &str) -> Result<Self> {
        let lab = Lab::standing(name)?;
        lab.raze_on_signal();
        Self::with_nodes(lab, &NODES)
    }

    fn with_nodes(lab: Lab, names: &[&str]) -> Result<Self> {
        let networks: Vec<_> = names.iter().map(|name| lab.node(name)).collect::<Result<_>>()?;
        let control = lab.node(CONTROL)?;
        let dir = lab.id().dir();
        let pki = Pki::create(&dir.join("pki"))?;
        let address = control.addresses().v4.into();
        let own = dir.join(CONTROL);
        fs::create_dir_all(&own).with_context(|| format!("cannot make {}", own.display()))?;
        let place = control.with_cgroup("system")?;
        let control = ControlPlane::start(place, address, &own, &pki)?;
        let agent = dir.join(AGENT_KUBECONFIG);
        kubeconfig::write(&agent, &server(address), &pki, &pki.client("millstream", AGENT, &[])?)?;
        let mut cluster = Self { lab: Some(lab), control, nodes: Vec::new() };
        cluster.apply(&rights())?;
        let image = dir.join("image.tar");
        if !networks.is_empty() {
            image::write(&image)?;
        }
        let membership = Membership {
            lab: cluster.id(),
            pki: &pki,
            server: &server(address),
            agent: &agent,
            image: &image,
        };
        cluster.nodes = start_all(networks, &membership)?;
        for node in &cluster.nodes {
            cluster.wait_ready(node).with_context(|| cluster.autopsy())?;
        }
        Ok(cluster)
    }

    /// The name that everything of this cluster bears.
    pub fn id(&self) -> &LabId {
        self.lab.as_ref().expect("only `leave` takes the lab, and it takes the cluster").id()
    }

    /// For an administrator, from any place in the cluster. The API server is not to be reached from elsewhere.
    pub fn kubeconfig(&self) -> &Path {
        self.control.kubeconfig()
    }

    /// For agents, who may do what daemonset/millstream.yaml gives them.
    pub fn agent_kubeconfig(&self) -> PathBuf {
        self.file(AGENT_KUBECONFIG)
    }

    /// A file of the cluster's own, for whatever a test wants to leave with it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.id().dir().join(name)
    }

    /// Runs `kubectl` as an administrator.
    pub fn kubectl(&self, args: &[&str]) -> Result<Output> {
        self.control.kubectl(args, None)
    }

    /// Starts `kubectl` as an administrator.
    pub fn start_kubectl(&self, args: &[&str]) -> Result<Process> {
        self.control.start_kubectl(args)
    }

    /// `kubectl apply` with these manifests.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        self.control.kubectl(&["apply", "--filename=-"], Some(yaml))?.stdout().map(drop)
    }

    /// Waits for a condition as `kubectl wait` knows them, and tells what there is where it does not come true.
    pub fn wait(&self, args: &[&str]) -> Result<()> {
        let timeout = format!("--timeout={}s", PATIENCE.as_secs() - 10);
        let args: Vec<_> = ["wait", &timeout].iter().chain(args).copied().collect();
        self.kubectl(&args)?.stdout().map(drop)
    }

    /// Starts a program in a pod, as `kubectl exec --stdin` does.
    pub fn exec(&self, namespace: &str, pod: &str, args: &[&str]) -> Result<Process> {
        let namespace = format!("--namespace={namespace}");
        let args: Vec<_> = ["exec", "--stdin", &namespace, pod, "--"].iter().chain(args).copied().collect();
        self.control.start_kubectl(&args)
    }

    pub fn node(&self, name: &str) -> Result<&Node> {
        let node = self.nodes.iter().find(|node| node.short_name() == name);
        node.with_context(|| format!("cluster {} has no node {name:?}", self.id()))
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Where the control plane runs, and `kubectl`: a network from which everything is reached.
    pub fn control(&self) -> &harness::Place {
        self.control.place()
    }

    /// Waits until the node is ready for pods.
    pub fn wait_ready(&self, node: &Node) -> Result<()> {
        let object = format!("node/{}", node.name());
        self.wait(&["--for=create", &object])?;
        self.wait(&["--for=condition=Ready", &object])
    }

    /// SIGKILL: connections to it are reset, and new ones refused.
    pub fn stop_api_server(&self) -> Result<()> {
        self.control.stop_api_server()
    }

    /// Starts it and waits until it is ready.
    pub fn start_api_server(&self) -> Result<()> {
        self.control.start_api_server()
    }

    /// Everything on this machine that still bears the name of a cluster. Empty when it is gone.
    pub fn leftovers(id: &LabId) -> Vec<String> {
        Lab::leftovers(id)
    }

    /// Leaves it standing, until `standing::down`.
    pub fn leave(mut self) -> Result<()> {
        standing::record(&self)?;
        self.control.leave();
        self.nodes.iter().for_each(Node::leave);
        self.lab.take().map_or(Ok(()), |lab| lab.leave_as(standing::KIND))
    }

    /// What somebody needs who wants to know why something failed.
    pub fn autopsy(&self) -> String {
        let mut text = format!("cluster {}: pods, nodes and control plane\n", self.id());
        for question in [["pods", "--output=wide"], ["events", "--field-selector=type=Warning"]] {
            let args = ["get", "--all-namespaces", "--request-timeout=5s"];
            if let Ok(answer) = self.kubectl(&[&args[..], &question].concat()) {
                text.push_str(answer.any_stdout());
                text.push('\n');
            }
        }
        for node in &self.nodes {
            text.push_str(&node.autopsy());
        }
        text + &self.control.last_words()
    }
}

fn rights() -> String {
    let gives_rights = |manifest: &&str| {
        let kind = manifest.lines().find_map(|line| line.strip_prefix("kind: "));
        kind.is_some_and(|kind| RIGHTS.contains(&kind))
    };
    MANIFESTS.split("\n---\n").filter(gives_rights).collect::<Vec<_>>().join("\n---\n")
}

/// At once: each waits for its own programs.
fn start_all(networks: Vec<harness::Node>, cluster: &Membership<'_>) -> Result<Vec<Node>> {
    thread::scope(|scope| {
        let starting: Vec<_> =
            networks.into_iter().map(|network| scope.spawn(|| Node::start(network, cluster))).collect();
        let join = |node: ScopedJoinHandle<'_, Result<Node>>| {
            node.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
        };
        starting.into_iter().map(join).collect()
    })
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.lab.is_some() && thread::panicking() {
            // Straight to standard error: what goes through `eprintln!` is shown only when the test has ended.
            let _ = io::stderr().write_all(self.autopsy().as_bytes());
        }
    }
}
