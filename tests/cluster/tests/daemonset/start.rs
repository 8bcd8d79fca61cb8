//! New pods: captured from their start, also when an agent has to come back first, or to mend the chain.

use cluster::IMAGE;
use serde_json::Value;

use crate::{
    daemonset::{
        CONFLIST, assert_captured_without_fail, assert_dialled_through, dialler, events, install, logs, read,
    },
    shop::{LABEL, NAMESPACE, Shop, redirection, wait_for},
};

/// Enrolled, and its pods rather start uncaptured than wait.
const OPEN: &str = "open";
/// Where nobody asks for capture.
const ELSEWHERE: &str = "elsewhere";

#[test]
fn new_pods_start_captured_or_wait_for_the_agent() {
    let shop = Shop::open("starts");
    let primary = read(shop.node("n1"), CONFLIST);
    nodes_are_kept_free_until_their_agents_are_ready(&shop);
    a_pod_is_captured_before_its_first_container_starts(&shop);
    the_primary_plugin_is_installed_again(&shop, &primary);
    somebody_takes_the_plugin_out_again_and_again(&shop, &primary);
    the_agent_is_away(&shop);
}

/// Whoever makes nodes has given them the taint.
fn nodes_are_kept_free_until_their_agents_are_ready(shop: &Shop) {
    shop.kubectl(&["taint", "nodes", "--all", "millstream.dev/agent-not-ready:NoSchedule"]);
    let eager = format!(
        "
apiVersion: v1
kind: Pod
metadata: {{ name: eager, namespace: {NAMESPACE} }}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{ name: main, image: {IMAGE}, imagePullPolicy: Never, command: [sleep, '2147483647'] }}]
"
    );
    shop.cluster.apply(&eager).unwrap();
    let unscheduled = "--for=jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}=Unschedulable";
    shop.cluster.wait(&[unscheduled, "pod/eager", "--namespace=shop"]).unwrap();
    install(shop, &["startupTaint=true"]);
    let taints = || shop.kubectl(&["get", "nodes", "--output=jsonpath={.items[*].spec.taints}"]);
    wait_for("the taints to be removed", || taints().is_empty());
    shop.wait_running();
    shop.wait_captured();
}

fn a_pod_is_captured_before_its_first_container_starts(shop: &Shop) {
    start_and_look(shop, &["first-0", "first-1", "first-2", "first-3"]);
}

/// Pods on `n1`, all at once.
fn start_and_look(shop: &Shop, pods: &[&str]) {
    let node = shop.node("n1");
    let [near, far] = ["near", "far"].map(|server| shop.echo_at(server));
    let both = [near, far].into_iter().cycle();
    let all: Vec<_> = pods.iter().zip(both).map(|(pod, addr)| dialler(pod, "shop", node, addr)).collect();
    shop.cluster.apply(&all.join("\n---\n")).unwrap();
    shop.wait_running();
    for pod in pods {
        assert_captured_without_fail(shop, pod);
        assert_dialled_through(shop, &logs(shop, node), pod);
    }
}

fn the_primary_plugin_is_installed_again(shop: &Shop, primary: &str) {
    let node = shop.node("n1");
    let chained = read(node, CONFLIST);
    assert!(chained.contains("millstream-cni") && !primary.contains("millstream-cni"), "{chained}");
    let write = format!("cat > {CONFLIST} <<'END'\n{primary}\nEND");
    node.run(&["sh", "-c", &write]).unwrap().stdout().unwrap();
    wait_for("the plugin to be in the chain again", || read(node, CONFLIST) == chained);
    start_and_look(shop, &["repaired"]);
}

/// Its pods start outside the mesh, are captured all the same, and both are told.
fn somebody_takes_the_plugin_out_again_and_again(shop: &Shop, primary: &str) {
    let node = shop.node("n1");
    let chained = read(node, CONFLIST);
    let overwrite = format!(
        "cat > /run/theirs <<'END'\n{primary}\nEND\n\
         while cp /run/theirs {CONFLIST}.new && mv {CONFLIST}.new {CONFLIST}; do sleep 0.02; done"
    );
    let rival = node.machine().spawn(&["sh", "-c", &overwrite]).unwrap();
    let problems = || shop.agent("n1").cli(&["status"]).unwrap().any_stdout().to_owned();
    wait_for("the rival to be named", || problems().contains("whatever installs ptp"));
    let pods = ["fought-0", "fought-1", "fought-2", "fought-3"];
    let dialled = pods.map(|pod| dialler(pod, NAMESPACE, node, shop.echo_at("far")));
    shop.cluster.apply(&dialled.join("\n---\n")).unwrap();
    shop.wait_running();
    shop.wait_captured();
    let is_late = |pod: &&str| !events(shop, NAMESPACE, pod, "CapturedLate").is_empty();
    wait_for("a pod to be told of as late", || pods.iter().any(is_late));
    drop(rival);
    wait_for("the plugin to be in the chain again", || read(node, CONFLIST) == chained);
}

fn the_agent_is_away(shop: &Shop) {
    let node = shop.node("n1");
    shop.dismiss_agent("n1");
    assert!(read(node, CONFLIST).contains("millstream-cni"));

    let namespaces = format!(
        "
apiVersion: v1
kind: Namespace
metadata:
  name: {OPEN}
  labels: {{ {LABEL}: ambient }}
  annotations: {{ millstream.dev/when-agent-down: open }}
---
apiVersion: v1
kind: Namespace
metadata: {{ name: {ELSEWHERE} }}
"
    );
    shop.cluster.apply(&namespaces).unwrap();
    let far = shop.echo_at("far");
    let pods = ["shop", OPEN, ELSEWHERE].map(|namespace| dialler("late", namespace, node, far));
    shop.cluster.apply(&pods.join("\n---\n")).unwrap();
    for namespace in [OPEN, ELSEWHERE] {
        let namespace = format!("--namespace={namespace}");
        shop.cluster.wait(&["--for=condition=Ready", "pod/late", &namespace]).unwrap();
    }
    wait_for("the refusal to be told", || !events(shop, "shop", "late", "FailedCreatePodSandBox").is_empty());
    let told = events(shop, "shop", "late", "FailedCreatePodSandBox").concat();
    for words in [
        "the Millstream agent of this node is not running",
        "pods of namespace shop must not start outside the mesh (millstream.dev/when-agent-down: closed)",
        "see how it is: kubectl get pods -n millstream-system -o wide; the kubelet tries again by itself",
    ] {
        assert!(told.contains(words), "no {words:?} in {told}");
    }
    let waiting = shop.pod("late");
    assert_eq!(waiting["status"]["phase"], "Pending");
    assert_eq!(redirection(&waiting), None);
    let open = of(shop, OPEN);

    shop.recall_agent("n1");
    wait_for("the pod of the open namespace to be captured", || {
        redirection(&of(shop, OPEN)) == Some("enabled")
    });
    shop.wait_running();
    assert_captured_without_fail(shop, "late");
    assert_dialled_through(shop, &logs(shop, node), "late");
    assert_eq!(shop.pod("late")["metadata"]["uid"], waiting["metadata"]["uid"]);
    assert_eq!(of(shop, OPEN)["status"]["containerStatuses"], open["status"]["containerStatuses"]);
    assert_eq!(redirection(&of(shop, ELSEWHERE)), None);
    assert_eq!(events(shop, ELSEWHERE, "late", "FailedCreatePodSandBox"), Vec::<String>::new());
}

fn of(shop: &Shop, namespace: &str) -> Value {
    let namespace = format!("--namespace={namespace}");
    shop.cluster.kubectl(&["get", "pod", "late", &namespace, "--output=json"]).unwrap().json().unwrap()
}
