//! A real kubelet probes captured pods.

use cluster::IMAGE;
use harness::Agent;
use serde_json::Value;

use crate::mesh::{Mesh, NAMESPACE, wait_for};

/// Three connections of the kubelet a second, once it has started.
fn probed(node: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{ name: probed, namespace: {NAMESPACE} }}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: {IMAGE}
    imagePullPolicy: Never
    command: [peer, serve, --mode, http, --listen, '[::]:8080']
    startupProbe: {{ tcpSocket: {{ port: 8080 }}, periodSeconds: 1 }}
    readinessProbe: {{ httpGet: {{ path: /, port: 8080 }}, periodSeconds: 1, failureThreshold: 1 }}
    livenessProbe: {{ tcpSocket: {{ port: 8080 }}, periodSeconds: 1, failureThreshold: 2 }}
"
    )
}

/// What the programs of the node have counted, with or without an agent.
fn counted(agent: &Agent, outcome: &str) -> u64 {
    let counters = agent.json(&["maps", "counters"]).unwrap();
    let is_it = |count: &&Value| count["program"] == "steer" && count["outcome"] == outcome;
    counters.as_array().unwrap().iter().find(is_it).unwrap()["count"].as_u64().unwrap()
}

fn wait_for_probes(agent: &Agent, when: &str) {
    let probes = || counted(agent, "passed: probe from the node");
    let before = probes();
    wait_for(&format!("probes {when}"), || before + 6 < probes());
}

fn kubelet(agent: &Agent) -> String {
    let status = agent.cli(&["status", "--output", "json"]).unwrap();
    let status: Value = serde_json::from_str(status.any_stdout()).unwrap();
    status["probes"].as_str().unwrap().to_owned()
}

fn assert_unharmed(mesh: &Mesh) {
    let pod = mesh.pod("probed");
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(container["restartCount"], 0, "{pod}");
    assert_eq!(container["ready"], true, "{pod}");
}

#[test]
fn the_kubelet_goes_past_the_proxy_agent_or_not_and_after_its_own_restart() {
    let mut mesh = Mesh::open("probes");
    let node = mesh.node("n1").name().to_owned();
    mesh.cluster.apply(&probed(&node)).unwrap();
    mesh.wait_running();
    mesh.label(Some("ambient"));
    mesh.wait_captured();

    let before = kubelet(&mesh.agents[0]);
    assert!(
        before.starts_with("kubelet (PID") && before.ends_with("reaches captured pods directly"),
        "{before}"
    );
    wait_for_probes(&mesh.agents[0], "with an agent");
    assert_eq!(counted(&mesh.agents[0], "to inbound listener"), 0, "a probe was captured");

    mesh.agents[0].kill().unwrap();
    wait_for_probes(&mesh.agents[0], "without an agent");
    assert_unharmed(&mesh);
    mesh.agents[0].launch().unwrap();

    mesh.node("n1").kill_kubelet().unwrap();
    mesh.node("n1").start_kubelet().unwrap();
    wait_for("the next kubelet to be found", || {
        let now = kubelet(&mesh.agents[0]);
        now != before && now.starts_with("kubelet (PID")
    });
    wait_for_probes(&mesh.agents[0], "of the next kubelet");
    assert_unharmed(&mesh);
}
