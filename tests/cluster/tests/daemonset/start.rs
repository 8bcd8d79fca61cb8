//! New pods: captured from their start, also when an agent has to come back first, or to mend the chain.

use serde_json::Value;

use crate::{
    daemonset::{
        CONFLIST, assert_captured_without_fail, assert_dialled_through, dialler, events, install, logs, read,
    },
    shop::{LABEL, Shop, redirection, wait_for},
};

/// Enrolled, and its pods rather start uncaptured than wait.
const OPEN: &str = "open";
/// Where nobody asks for capture.
const ELSEWHERE: &str = "elsewhere";

#[test]
fn new_pods_start_captured_or_wait_for_the_agent() {
    let shop = Shop::open("starts");
    let primary = read(shop.node("n1"), CONFLIST);
    install(&shop, &[]);
    a_pod_is_captured_before_its_first_container_starts(&shop);
    the_primary_plugin_is_installed_again(&shop, &primary);
    the_agent_is_away(&shop);
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
