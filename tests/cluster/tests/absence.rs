//! What happens while the API server, the agent, or the right to tell the cluster is away is made up for afterwards.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use cluster::IMAGE;
use harness::{Agent, Count, Crowd, PATIENCE};
use serde_json::{Value, json};

use crate::{
    inside::{Inside, each_netns, kernel_pods},
    mesh::{LABEL, Mesh, NAMESPACE, Still, redirection, wait_for},
};

const CROWD: usize = 10;
const FLOCK: usize = 20;
const SLEEP: &str = "sleep 2147483647";
/// Who the agents are to the API server.
const AGENT: &str = "system:serviceaccount:millstream-system:millstream";

#[test]
fn what_happened_during_an_absence_is_made_up_for_at_the_return() {
    let mut mesh = Mesh::open("absence");
    mesh.label(Some("ambient"));
    mesh.wait_captured();
    the_api_server_is_away(&mut mesh);
    the_right_to_annotate_is_away(&mesh);
    a_pod_cannot_be_captured(&mut mesh);
    the_agent_dies_again_and_again(&mut mesh);
    the_agent_is_away(&mut mesh);
}

fn the_api_server_is_away(mesh: &mut Mesh) {
    let client = Inside::of(mesh, "n1", "client");
    let [near, far] = ["near", "far"].map(|server| mesh.echo_at(server));
    let mut crowds = vec![stand(&client, near), stand(&client, far)];
    wait_for("no problems", || problems(&mesh.agents[0]) == "[]");

    mesh.cluster.stop_api_server().unwrap();
    let trouble = "cannot watch Pods";
    wait_for("the trouble to be named", || problems(&mesh.agents[0]).contains(trouble));
    crowds.extend([stand(&client, near), stand(&client, far)]);
    for crowd in &mut crowds {
        assert_eq!(crowd.exchange().unwrap(), Count::all(CROWD));
    }
    let rows = mesh.agents[0].json(&["connections"]).unwrap();
    let outbound = rows.as_array().unwrap().iter().filter(|row| row["direction"] == "outbound");
    assert!(4 * CROWD <= outbound.count(), "{rows}");
    crowds.into_iter().for_each(end);

    // An agent that knows nothing yet leaves everything as it is.
    let there = kernel_pods(&mesh.agents[1]);
    assert_eq!(there.len(), 1);
    mesh.agents[1].kill().unwrap();
    mesh.agents[1].launch_unready().unwrap();
    wait_for("the trouble to be named again", || problems(&mesh.agents[1]).contains(trouble));
    assert!(problems(&mesh.agents[1]).contains("not ready: the first snapshot is not complete"));
    assert_eq!(kernel_pods(&mesh.agents[1]), there);

    let mut standing = stand(&client, near);
    mesh.cluster.start_api_server().unwrap();
    label_pod(mesh, "near", Some("none"));
    mesh.add(Still { name: "late", node: "n1", command: SLEEP });
    wait_for("the changes to be followed", || {
        redirection(&mesh.pod("near")).is_none() && redirection(&mesh.pod("late")) == Some("enabled")
    });
    for agent in &mesh.agents {
        wait_for("the trouble to be over", || problems(agent) == "[]");
    }
    assert_eq!(standing.exchange().unwrap(), Count::all(CROWD));
    [standing, stand(&client, far)].into_iter().for_each(end);
    label_pod(mesh, "near", None);
    mesh.wait_captured();
}

fn the_right_to_annotate_is_away(mesh: &Mesh) {
    let agent = &mesh.agents[0];
    let role = mesh.cluster.kubectl(&["get", "clusterrole", "millstream", "--output=json"]).unwrap();
    let role = role.json().unwrap();
    let rules = role["rules"].as_array().unwrap();
    let may_patch = |rule: &&Value| rule["resources"] == json!(["pods/status"]);
    let rest: Vec<_> = rules.iter().filter(|rule| !may_patch(rule)).collect();
    let patch = |rules: &Value| {
        let patch = json!({ "rules": rules }).to_string();
        mesh.kubectl(&["patch", "clusterrole", "millstream", "--type=merge", "--patch", &patch]);
    };
    patch(&json!(rest));
    let ask = ["auth", "can-i", "patch", "pods", "--subresource=status", "--as", AGENT, "--namespace=shop"];
    wait_for("the right to be gone", || mesh.cluster.kubectl(&ask).unwrap().any_stdout().trim() == "no");

    mesh.add(Still { name: "untold", node: "n1", command: SLEEP });
    agent.wait(&["captured", "shop/untold"]).unwrap();
    wait_for("the lack to be named", || {
        problems(agent)
            .contains("forbids to annotate pods; the agent's ClusterRole needs patch on pods/status")
    });
    assert_eq!(redirection(&mesh.pod("untold")), None);

    patch(&role["rules"]);
    mesh.wait_captured();
    wait_for("the lack to be over", || problems(agent) == "[]");
}

fn a_pod_cannot_be_captured(mesh: &mut Mesh) {
    mesh.add(Still { name: "clash", node: "n1", command: SLEEP });
    label_pod(mesh, "clash", Some("none"));
    mesh.wait_running();
    wait_for("the pod to be out", || redirection(&mesh.pod("clash")).is_none());
    mesh.agents[0].wait(&["released", "shop/clash"]).unwrap();
    let clash = Inside::of(mesh, "n1", "clash");
    clash.run(&["ip", "route", "add", "prohibit", "192.0.2.0/24", "table", "15001"]);
    label_pod(mesh, "clash", None);
    let reason = "table 15001 has IPv4 routes that are not ours";
    wait_for("the pod to be pending", || redirection(&mesh.pod("clash")) == Some("pending"));
    wait_for("an event", || {
        let select = "--field-selector=reason=NotCaptured,involvedObject.name=clash";
        let events = mesh.kubectl(&["get", "events", "--namespace=shop", select, "--output=json"]);
        events.contains(reason)
    });

    // It does not hold up an agent for ever.
    mesh.agents[0].restart().unwrap();
    let named = problems(&mesh.agents[0]);
    assert!(named.contains("pod shop/clash is not captured") && named.contains(reason), "{named}");
    clash.run(&["ip", "route", "flush", "table", "15001"]);
    mesh.wait_captured();
}

/// While twenty pods are started.
fn the_agent_dies_again_and_again(mesh: &mut Mesh) {
    mesh.agents[0].kill().unwrap();
    let node = mesh.node("n1").name().to_owned();
    let flock: String = (0..FLOCK).map(|number| member(&node, number)).collect();
    mesh.cluster.apply(&flock).unwrap();
    for captured in [1, 6, 11, 17] {
        launch_and_kill(&mut mesh.agents[0], captured);
    }
    mesh.agents[0].launch().unwrap();
    mesh.wait_captured();
    mesh.wait_running();
    all_is_there_once(mesh);
}

fn the_agent_is_away(mesh: &mut Mesh) {
    mesh.agents[0].kill().unwrap();
    let gone: Vec<_> = (0..5).map(|number| format!("pod/flock-{number}")).collect();
    let mut delete = vec!["delete", "--namespace=shop"];
    delete.extend(gone.iter().map(String::as_str));
    mesh.kubectl(&delete);
    for number in 5..10 {
        label_pod(mesh, &format!("flock-{number}"), Some("none"));
    }
    let node = mesh.node("n1").name().to_owned();
    let flock: String = (FLOCK..FLOCK + 3).map(|number| member(&node, number)).collect();
    mesh.cluster.apply(&flock).unwrap();
    mesh.wait_running();

    mesh.agents[0].launch().unwrap();
    wait_for("all annotations to be right", || {
        mesh.pods().iter().all(|pod| redirection(pod) == is_wanted(pod).then_some("enabled"))
    });
    for number in 5..10 {
        mesh.agents[0].wait(&["released", &format!("shop/flock-{number}")]).unwrap();
    }
    all_is_there_once(mesh);
    assert_eq!(problems(&mesh.agents[0]), "[]");
}

fn member(node: &str, number: usize) -> String {
    format!(
        "
---
apiVersion: v1
kind: Pod
metadata: {{ name: flock-{number}, namespace: {NAMESPACE} }}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  containers: [{{ name: main, image: {IMAGE}, imagePullPolicy: Never, command: [sleep, '2147483647'] }}]
"
    )
}

/// Starts an agent and kills it as soon as it has told of so many pods.
fn launch_and_kill(agent: &mut Agent, after: usize) {
    let told = |agent: &Agent| agent.log().unwrap().matches("Pod captured").count();
    let enough = told(agent) + after;
    agent.launch_unready().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while told(agent) < enough {
        assert!(Instant::now() < deadline, "waited in vain for {after} captured pods");
        // Shorter than it takes to capture one.
        thread::sleep(Duration::from_millis(1));
    }
    agent.kill().unwrap();
}

/// Connections from a pod, all open.
fn stand(client: &Inside, addr: SocketAddr) -> Crowd {
    let mut crowd = client.crowd(addr, CROWD);
    assert_eq!(crowd.standing().unwrap(), Count::all(CROWD));
    crowd
}

fn end(crowd: Crowd) {
    assert_eq!(crowd.end().unwrap(), Count::all(CROWD));
}

fn label_pod(mesh: &Mesh, pod: &str, mode: Option<&str>) {
    let label = mode.map_or(format!("{LABEL}-"), |mode| format!("{LABEL}={mode}"));
    mesh.kubectl(&["label", "--overwrite", "--namespace=shop", "pod", pod, &label]);
}

fn is_wanted(pod: &Value) -> bool {
    pod["metadata"]["labels"][LABEL] != "none"
}

/// What the kernel has for the first node's pods: once for each that is wanted, and for no other.
fn all_is_there_once(mesh: &Mesh) {
    let node = mesh.node("n1");
    let pods = mesh.pods();
    let wanted = pods.iter().filter(|pod| pod["spec"]["nodeName"] == node.name() && is_wanted(pod));
    let wanted: BTreeSet<_> =
        wanted.map(|pod| format!("{NAMESPACE}/{}", pod["metadata"]["name"].as_str().unwrap())).collect();
    let known = kernel_pods(&mesh.agents[0]);
    assert_eq!(known.iter().map(|(_, pod)| pod.clone()).collect::<BTreeSet<_>>(), wanted);
    assert_eq!(known.len(), wanted.len(), "{known:?}");

    let script = "echo $(ip rule | grep -c 15001) $(ip -6 rule | grep -c 15001) \
                  $(ip route show table 15001 | wc -l) $(ip -6 route show table 15001 | wc -l)";
    let told = each_netns(node, script);
    let (captured, others): (Vec<_>, Vec<_>) = told.lines().partition(|line| *line == "1 1 1 1");
    assert_eq!(captured.len(), wanted.len(), "{told}");
    assert!(others.iter().all(|line| *line == "0 0 0 0"), "{told}");

    let pins = node.run(&["ls", &format!("/sys/fs/bpf/millstream/{}/links", node.name())]).unwrap();
    for link in ["steer-", "guard-", "backstop-"] {
        let count = pins.stdout().unwrap().lines().filter(|name| name.starts_with(link)).count();
        assert_eq!(count, wanted.len(), "{link}: {}", pins.any_stdout());
    }
}

/// What `status` complains about; `[]` where all is well.
fn problems(agent: &Agent) -> String {
    let output = agent.cli(&["status", "--output", "json"]).unwrap();
    let status: Value = serde_json::from_str(output.any_stdout()).unwrap();
    status["problems"].to_string()
}
