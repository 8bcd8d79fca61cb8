//! Pods as their node sees them: neither the API server nor kubelet or containerd is needed for that.

use std::net::SocketAddr;

use cluster::{Node, NodeAgent};
use harness::{Crowd, Place, peer_program};
use serde_json::Value;

use crate::shop::Shop;

/// The network of a pod.
pub(crate) struct Inside {
    machine: Place,
    netns: String,
}

impl Inside {
    pub(crate) fn of(shop: &Shop, node: &str, pod: &str) -> Self {
        let ip = shop.echo_at(pod).ip();
        let node = shop.node(node);
        // Their names say nothing.
        let netns = each_netns(node, &format!("ip -oneline address | grep -qF ' {ip}/' && echo $netns"));
        Self { machine: node.machine(), netns }
    }

    pub(crate) fn run(&self, args: &[&str]) -> String {
        let args: Vec<_> = self.enter().into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect();
        self.machine.run(&args).unwrap().stdout().unwrap().to_owned()
    }

    /// Connections from the pod that stay open.
    pub(crate) fn crowd(&self, addr: SocketAddr, connections: usize) -> Crowd {
        let mut args = self.enter().to_vec();
        args.push(peer_program().unwrap().display().to_string());
        args.extend(
            ["crowd", &addr.to_string(), "--connections", &connections.to_string()].map(str::to_owned),
        );
        Crowd::of(self.machine.spawn(&args).unwrap())
    }

    fn enter(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net={}", self.netns)]
    }
}

/// Runs a line of shell in the network of each pod of a node; in it, `$netns` is the path.
pub(crate) fn each_netns(node: &Node, line: &str) -> String {
    let script = "for netns in /run/netns/cni-*; do \
                      export netns; nsenter --net=$netns sh -c \"$LINE\" || true; \
                  done";
    let output = node.run(&["env", &format!("LINE={line}"), "sh", "-c", script]).unwrap();
    output.stdout().unwrap().to_owned()
}

/// The pods that the programs know, by the cookie of their namespaces.
pub(crate) fn kernel_pods(agent: NodeAgent<'_>) -> Vec<(u64, String)> {
    let pods = agent.json(&["maps", "pods"]).unwrap();
    let of = |pod: &Value| (pod["netns_cookie"].as_u64().unwrap(), pod["pod"].as_str().unwrap().to_owned());
    pods.as_array().unwrap().iter().map(of).collect()
}
