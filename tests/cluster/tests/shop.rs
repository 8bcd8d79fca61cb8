//! The stage of most tests: a shop on two nodes.

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use cluster::{
    Cluster, IMAGE, Node, NodeAgent,
    release::{AGENTS, IN_NAMESPACE},
};
use harness::{Crowd, Load, PATIENCE};
use serde_json::Value;

pub(crate) const NAMESPACE: &str = "shop";
pub(crate) const LABEL: &str = "istio.io/dataplane-mode";
pub(crate) const REDIRECTION: &str = "ambient.istio.io/redirection";
/// Where the servers echo.
pub(crate) const ECHO: u16 = 7;

pub(crate) struct Shop {
    pub(crate) cluster: Cluster,
}

/// A pod of the shop that holds still: on one node, and never made anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Still<'a> {
    pub(crate) name: &'a str,
    pub(crate) node: &'a str,
    pub(crate) command: &'a str,
}

// === impl Shop ===

impl Shop {
    /// A client and a server on `n1` and a server on `n2`, all running, and each node with an agent of the chart.
    pub(crate) fn with_agents(name: &str) -> Self {
        let shop = Self::open(name);
        shop.install(&["drain.shutdown=5s"]);
        shop
    }

    /// The same before anything of ours is installed.
    pub(crate) fn open(name: &str) -> Self {
        let shop = Self { cluster: Cluster::start(name).unwrap() };
        shop.cluster
            .apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {NAMESPACE}}}}}"))
            .unwrap();
        let serve = "peer serve --mode crowd --listen [::]:7";
        for still in [
            Still { name: "client", node: "n1", command: "sleep 2147483647" },
            Still { name: "near", node: "n1", command: serve },
            Still { name: "far", node: "n2", command: serve },
        ] {
            shop.add(still);
        }
        shop.wait_running();
        shop
    }

    pub(crate) fn add(&self, still: Still<'_>) {
        let Still { name, node, command } = still;
        let node = self.node(node).name();
        let command: Vec<_> = command.split(' ').collect();
        self.cluster
            .apply(&format!(
                "
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, namespace: {NAMESPACE}, labels: {{ app: {name} }} }}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers:
  - {{ name: main, image: {IMAGE}, imagePullPolicy: Never, command: {command:?} }}
"
            ))
            .unwrap();
    }

    pub(crate) fn node(&self, name: &str) -> &Node {
        self.cluster.node(name).unwrap()
    }

    /// `values` as for `helm --set`.
    pub(crate) fn install(&self, values: &[&str]) {
        self.kubectl(&["label", "nodes", "--all", "agent=wanted"]);
        self.cluster.install(&[&["nodeSelector.agent=wanted"], values].concat()).unwrap();
    }

    pub(crate) fn agent(&self, node: &str) -> NodeAgent<'_> {
        self.node(node).agent()
    }

    /// Has the DaemonSet leave a node; returns when its agent's pod has gone.
    pub(crate) fn dismiss_agent(&self, node: &str) {
        let node = self.node(node).name();
        self.kubectl(&["label", "node", node, "agent-"]);
        let on_node = format!("--field-selector=spec.nodeName={node}");
        self.cluster.wait(&["--for=delete", "pod", AGENTS, &on_node, IN_NAMESPACE]).unwrap();
    }

    /// Has the DaemonSet come back to it, and waits for nothing.
    pub(crate) fn recall_agent(&self, node: &str) {
        self.kubectl(&["label", "node", self.node(node).name(), "agent=wanted"]);
    }

    /// Every pod of the shop is ready.
    pub(crate) fn wait_running(&self) {
        self.cluster.wait(&["--for=condition=Ready", "pod", "--all", "--namespace=shop"]).unwrap();
    }

    /// Labels the namespace.
    pub(crate) fn label(&self, mode: Option<&str>) {
        let label = mode.map_or(format!("{LABEL}-"), |mode| format!("{LABEL}={mode}"));
        self.kubectl(&["label", "--overwrite", "namespace", NAMESPACE, &label]);
    }

    /// Every pod of the shop is annotated as captured.
    pub(crate) fn wait_captured(&self) {
        wait_for("all pods to be annotated", || {
            self.pods().iter().all(|pod| redirection(pod) == Some("enabled"))
        });
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.kubectl(args).unwrap().stdout().unwrap().to_owned()
    }

    pub(crate) fn pods(&self) -> Vec<Value> {
        let list = ["get", "pods", "--namespace=shop", "--output=json"];
        let list = self.cluster.kubectl(&list).unwrap().json().unwrap();
        list["items"].as_array().unwrap().clone()
    }

    pub(crate) fn pod(&self, name: &str) -> Value {
        let get = ["get", "pod", name, "--namespace=shop", "--output=json"];
        self.cluster.kubectl(&get).unwrap().json().unwrap()
    }

    /// A pod that starts is captured before its kubelet tells its address: that is waited for.
    pub(crate) fn echo_at(&self, pod: &str) -> SocketAddr {
        let mut ip = None;
        wait_for("the pod to have an address", || {
            ip = self.pod(pod)["status"]["podIP"].as_str().map(|ip| ip.parse::<IpAddr>().unwrap());
            ip.is_some()
        });
        SocketAddr::new(ip.unwrap(), ECHO)
    }

    /// Connections from the client that stay open.
    pub(crate) fn crowd(&self, addr: SocketAddr, connections: usize) -> Crowd {
        let (addr, connections) = (addr.to_string(), connections.to_string());
        let args = ["peer", "crowd", &addr, "--connections", &connections];
        Crowd::of(self.cluster.exec(NAMESPACE, "client", &args).unwrap())
    }

    /// Fifty short connections a second from the client.
    pub(crate) fn load(&self, addr: SocketAddr) -> Load {
        let addr = addr.to_string();
        let args = ["peer", "load", &addr, "--rate", "50"];
        Load::of(self.cluster.exec(NAMESPACE, "client", &args).unwrap()).unwrap()
    }
}

pub(crate) fn redirection(pod: &Value) -> Option<&str> {
    pod["metadata"]["annotations"][REDIRECTION].as_str()
}

/// Failures by call and error.
pub(crate) fn failures(load: Load) -> Value {
    let told = load.stop().unwrap();
    assert!(told["connections"].as_u64() > Some(0), "{told}");
    told["failures"].clone()
}

pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}
