//! What happens while the API server, the agent, or the right to tell the cluster is away is made up for afterwards.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use cluster::{IMAGE, NodeAgent};
use harness::{Count, Crowd, PATIENCE};
use serde_json::{Value, json};

use crate::{
    inside::{Inside, each_netns, kernel_pods},
    shop::{LABEL, NAMESPACE, Shop, Still, redirection, wait_for},
};

const CROWD: usize = 10;
const FLOCK: usize = 20;
const SLEEP: &str = "sleep 2147483647";
/// Who the agents are to the API server.
const AGENT: &str = "system:serviceaccount:millstream-system:millstream";

#[test]
fn what_happened_during_an_absence_is_made_up_for_at_the_return() {
    let shop = Shop::with_agents("absence");
    // Its pods start while there is no agent.
    shop.kubectl(&["annotate", "namespace", NAMESPACE, "millstream.dev/when-agent-down=open"]);
    shop.label(Some("ambient"));
    shop.wait_captured();
    the_api_server_is_away(&shop);
    the_right_to_annotate_is_away(&shop);
    a_pod_cannot_be_captured(&shop);
    the_agent_dies_again_and_again(&shop);
    the_agent_is_away(&shop);
}

fn the_api_server_is_away(shop: &Shop) {
    let client = Inside::of(shop, "n1", "client");
    let [near, far] = ["near", "far"].map(|server| shop.echo_at(server));
    let mut crowds = vec![stand(&client, near), stand(&client, far)];
    wait_for("no problems", || problems(shop.agent("n1")) == "[]");

    shop.cluster.stop_api_server().unwrap();
    let trouble = "cannot watch Pods";
    wait_for("the trouble to be named", || problems(shop.agent("n1")).contains(trouble));
    crowds.extend([stand(&client, near), stand(&client, far)]);
    for crowd in &mut crowds {
        assert_eq!(crowd.exchange().unwrap(), Count::all(CROWD));
    }
    let rows = shop.agent("n1").json(&["connections"]).unwrap();
    let outbound = rows.as_array().unwrap().iter().filter(|row| row["direction"] == "outbound");
    assert!(4 * CROWD <= outbound.count(), "{rows}");
    crowds.into_iter().for_each(end);

    // An agent that knows nothing yet leaves everything as it is.
    let there = kernel_pods(shop.agent("n2"));
    assert_eq!(there.len(), 1);
    shop.agent("n2").kill().unwrap();
    shop.agent("n2").launch_unready().unwrap();
    wait_for("the trouble to be named again", || problems(shop.agent("n2")).contains(trouble));
    assert!(problems(shop.agent("n2")).contains("not ready: the first snapshot is not complete"));
    assert_eq!(kernel_pods(shop.agent("n2")), there);

    let mut standing = stand(&client, near);
    shop.cluster.start_api_server().unwrap();
    label_pod(shop, "near", Some("none"));
    shop.add(Still { name: "late", node: "n1", command: SLEEP });
    wait_for("the changes to be followed", || {
        redirection(&shop.pod("near")).is_none() && redirection(&shop.pod("late")) == Some("enabled")
    });
    for node in ["n1", "n2"] {
        wait_for("the trouble to be over", || problems(shop.agent(node)) == "[]");
    }
    assert_eq!(standing.exchange().unwrap(), Count::all(CROWD));
    [standing, stand(&client, far)].into_iter().for_each(end);
    label_pod(shop, "near", None);
    shop.wait_captured();
}

fn the_right_to_annotate_is_away(shop: &Shop) {
    let agent = shop.agent("n1");
    let role = shop.cluster.kubectl(&["get", "clusterrole", "millstream", "--output=json"]).unwrap();
    let role = role.json().unwrap();
    let rules = role["rules"].as_array().unwrap();
    let may_patch = |rule: &&Value| rule["resources"] == json!(["pods/status"]);
    let rest: Vec<_> = rules.iter().filter(|rule| !may_patch(rule)).collect();
    let patch = |rules: &Value| {
        let patch = json!({ "rules": rules }).to_string();
        shop.kubectl(&["patch", "clusterrole", "millstream", "--type=merge", "--patch", &patch]);
    };
    patch(&json!(rest));
    let ask = ["auth", "can-i", "patch", "pods", "--subresource=status", "--as", AGENT, "--namespace=shop"];
    wait_for("the right to be gone", || shop.cluster.kubectl(&ask).unwrap().any_stdout().trim() == "no");

    shop.add(Still { name: "untold", node: "n1", command: SLEEP });
    agent.wait(&["captured", "shop/untold"]).unwrap();
    wait_for("the lack to be named", || {
        problems(agent)
            .contains("forbids to annotate pods; the agent's ClusterRole needs patch on pods/status")
    });
    assert_eq!(redirection(&shop.pod("untold")), None);

    patch(&role["rules"]);
    shop.wait_captured();
    wait_for("the lack to be over", || problems(agent) == "[]");
}

fn a_pod_cannot_be_captured(shop: &Shop) {
    shop.add(Still { name: "clash", node: "n1", command: SLEEP });
    label_pod(shop, "clash", Some("none"));
    shop.wait_running();
    wait_for("the pod to be out", || redirection(&shop.pod("clash")).is_none());
    shop.agent("n1").wait(&["released", "shop/clash"]).unwrap();
    let clash = Inside::of(shop, "n1", "clash");
    clash.run(&["ip", "route", "add", "prohibit", "192.0.2.0/24", "table", "15001"]);
    label_pod(shop, "clash", None);
    let reason = "table 15001 has IPv4 routes that are not ours";
    wait_for("the pod to be pending", || redirection(&shop.pod("clash")) == Some("pending"));
    wait_for("an event", || {
        let select = "--field-selector=reason=NotCaptured,involvedObject.name=clash";
        let events = shop.kubectl(&["get", "events", "--namespace=shop", select, "--output=json"]);
        events.contains(reason)
    });

    // It does not hold up an agent for ever.
    shop.agent("n1").kill().unwrap();
    shop.agent("n1").launch().unwrap();
    let named = problems(shop.agent("n1"));
    assert!(named.contains("pod shop/clash is not captured") && named.contains(reason), "{named}");
    clash.run(&["ip", "route", "flush", "table", "15001"]);
    shop.wait_captured();
}

/// While twenty pods are started.
fn the_agent_dies_again_and_again(shop: &Shop) {
    shop.agent("n1").kill().unwrap();
    let node = shop.node("n1").name().to_owned();
    let flock: String = (0..FLOCK).map(|number| member(&node, number)).collect();
    shop.cluster.apply(&flock).unwrap();
    for captured in [1, 6, 11, 17] {
        launch_and_kill(shop.agent("n1"), captured);
    }
    shop.agent("n1").launch().unwrap();
    shop.wait_captured();
    shop.wait_running();
    all_is_there_once(shop);
}

fn the_agent_is_away(shop: &Shop) {
    shop.agent("n1").kill().unwrap();
    let gone: Vec<_> = (0..5).map(|number| format!("pod/flock-{number}")).collect();
    let mut delete = vec!["delete", "--namespace=shop"];
    delete.extend(gone.iter().map(String::as_str));
    shop.kubectl(&delete);
    for number in 5..10 {
        label_pod(shop, &format!("flock-{number}"), Some("none"));
    }
    let node = shop.node("n1").name().to_owned();
    let flock: String = (FLOCK..FLOCK + 3).map(|number| member(&node, number)).collect();
    shop.cluster.apply(&flock).unwrap();
    shop.wait_running();

    shop.agent("n1").launch().unwrap();
    wait_for("all annotations to be right", || {
        shop.pods().iter().all(|pod| redirection(pod) == is_wanted(pod).then_some("enabled"))
    });
    for number in 5..10 {
        shop.agent("n1").wait(&["released", &format!("shop/flock-{number}")]).unwrap();
    }
    all_is_there_once(shop);
    assert_eq!(problems(shop.agent("n1")), "[]");
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
fn launch_and_kill(agent: NodeAgent<'_>, after: usize) {
    let told = || agent.log().unwrap().matches("Pod captured").count();
    let enough = told() + after;
    agent.launch_unready().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while told() < enough {
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

fn label_pod(shop: &Shop, pod: &str, mode: Option<&str>) {
    let label = mode.map_or(format!("{LABEL}-"), |mode| format!("{LABEL}={mode}"));
    shop.kubectl(&["label", "--overwrite", "--namespace=shop", "pod", pod, &label]);
}

fn is_wanted(pod: &Value) -> bool {
    pod["metadata"]["labels"][LABEL] != "none"
}

/// What the kernel has for the first node's pods: once for each that is wanted, and for no other.
fn all_is_there_once(shop: &Shop) {
    let node = shop.node("n1");
    let pods = shop.pods();
    let wanted = pods.iter().filter(|pod| pod["spec"]["nodeName"] == node.name() && is_wanted(pod));
    let wanted: BTreeSet<_> =
        wanted.map(|pod| format!("{NAMESPACE}/{}", pod["metadata"]["name"].as_str().unwrap())).collect();
    let known = kernel_pods(shop.agent("n1"));
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
fn problems(agent: NodeAgent<'_>) -> String {
    let output = agent.cli(&["status", "--output", "json"]).unwrap();
    let status: Value = serde_json::from_str(output.any_stdout()).unwrap();
    status["problems"].to_string()
}
