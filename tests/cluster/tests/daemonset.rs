//! The agents as a DaemonSet by the chart: what operators do to them, and to the nodes under them.

use std::net::SocketAddr;

use cluster::{
    IMAGE, Node,
    release::{AGENTS, IN_NAMESPACE, RELEASE},
};
use serde_json::{Value, json};

use crate::shop::{NAMESPACE, Shop, redirection, wait_for};

mod leave;
mod roll;
mod start;

/// Where the primary plugin of a node has its configuration.
const CONFLIST: &str = "/etc/cni/net.d/10-pods.conflist";

/// How many connections a pod of [`dialler`] opens, the first thing it does.
const FIRST: usize = 3;

/// The agents are ready, and all of the shop is captured.
fn install(shop: &Shop, values: &[&str]) {
    shop.install(values);
    shop.label(Some("ambient"));
    shop.wait_captured();
}

/// A pod whose container dials before it does anything else, and then holds still.
fn dialler(name: &str, namespace: &str, node: &Node, addr: SocketAddr) -> String {
    let script = format!("peer load {addr} --workers 1 --count {FIRST} && exec sleep 2147483647");
    let node = node.name();
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers:
  - {{ name: main, image: {IMAGE}, imagePullPolicy: Never, command: [sh, -c, '{script}'] }}
"
    )
}

/// It is annotated, and nobody was ever told that it was not captured.
fn assert_captured_without_fail(shop: &Shop, pod: &str) {
    wait_for("the pod to be annotated", || redirection(&shop.pod(pod)) == Some("enabled"));
    assert_eq!(events(shop, NAMESPACE, pod, "NotCaptured"), Vec::<String>::new());
}

/// All that its container dialled has an outbound record, the first connection as the last.
fn assert_dialled_through(shop: &Shop, logs: &str, pod: &str) {
    let told = shop.kubectl(&["logs", "--namespace=shop", pod]);
    let told: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!((&told["connections"], &told["failures"]), (&json!(FIRST), &json!({})), "{pod}: {told}");
    assert_eq!(records(logs, pod), FIRST, "records of {pod}");
}

/// Of connections from a pod of the shop.
fn records(logs: &str, pod: &str) -> usize {
    let workload = format!("{NAMESPACE}/{pod}");
    let events = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let records = events.filter(|event| event["target"] == "access" && event["direction"] == "outbound");
    records.filter(|record| record["src.workload"] == workload).count()
}

/// What the agents of a node have logged, those that still exist.
fn logs(shop: &Shop, node: &Node) -> String {
    let names = agents(shop, node).into_iter();
    names.map(|name| shop.kubectl(&["logs", IN_NAMESPACE, &name])).collect()
}

/// The names of a node's agents, also of one that ends.
fn agents(shop: &Shop, node: &Node) -> Vec<String> {
    let pods = agent_pods(shop);
    let here = pods.iter().filter(|pod| pod["spec"]["nodeName"] == node.name());
    here.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn agent_pods(shop: &Shop) -> Vec<Value> {
    let list = shop
        .cluster
        .kubectl(&["get", "pods", IN_NAMESPACE, AGENTS, "--output=json"])
        .unwrap()
        .json()
        .unwrap();
    list["items"].as_array().unwrap().clone()
}

/// What a pod's events of one kind say.
fn events(shop: &Shop, namespace: &str, pod: &str, reason: &str) -> Vec<String> {
    let namespace = format!("--namespace={namespace}");
    let which = format!("--field-selector=reason={reason},involvedObject.name={pod}");
    let events = shop.cluster.kubectl(&["get", "events", &namespace, &which, "--output=json"]).unwrap();
    let events = events.json().unwrap();
    let messages = events["items"].as_array().unwrap().iter().map(|event| &event["message"]);
    messages.map(|message| message.as_str().unwrap().to_owned()).collect()
}

/// The text of a file of the node.
fn read(node: &Node, file: &str) -> String {
    node.run(&["cat", file]).unwrap().stdout().unwrap().to_owned()
}

/// A field of the DaemonSet.
fn daemon_set(shop: &Shop, path: &str) -> String {
    let get = ["get", "daemonset", RELEASE, IN_NAMESPACE];
    shop.kubectl(&[&get[..], &[&format!("--output=jsonpath={path}")]].concat())
}
