//! A node goes and comes back, and the agents go for good.

use cluster::Node;
use harness::Count;
use serde_json::json;

use crate::{
    daemonset::{
        CONFLIST, FIRST, agents, assert_captured_without_fail, dialler, install, logs, read, records,
    },
    inside::Inside,
    shop::{NAMESPACE, Shop, failures, redirection, wait_for},
};

const CROWD: usize = 10;

/// What capture may change in a pod.
const OF_A_POD: &str = "ip rule; ip -6 rule
    ip route show table all; ip -6 route show table all
    tc qdisc show; ss --no-header --listening --tcp --numeric | awk '{ print $4 }'
    sysctl --all 2>/dev/null | grep '^net[.]ipv[46][.]'";

/// What the agent may change on a node.
const OF_A_NODE: &str = "cat /etc/cni/net.d/10-pods.conflist; stat --format='%a %u:%g' /etc/cni/net.d/10-pods.conflist
    find /etc/cni/net.d /opt/cni/bin /var/lib/millstream /run/millstream /sys/fs/bpf/millstream -mindepth 1 2>/dev/null
    ip rule; ip -6 rule; ls -d /sys/fs/cgroup/millstream-$NODE 2>/dev/null; true";

#[test]
fn a_node_reboots_into_the_mesh_and_an_uninstall_leaves_nothing() {
    let shop = Shop::open("leaves");
    let nodes = ["n1", "n2"].map(|node| shop.node(node));
    let nodes_before = nodes.map(of_a_node);
    let pods_before = ["client", "near"].map(|pod| of_a_pod(&shop, pod));
    let mut older = shop.crowd(shop.echo_at("near"), CROWD);
    assert_eq!(older.standing().unwrap(), Count::all(CROWD));
    install(&shop, &["drain.shutdown=5s"]);
    assert_ne!(nodes.map(of_a_node), nodes_before);
    assert_ne!(["client", "near"].map(|pod| of_a_pod(&shop, pod)), pods_before);

    a_node_reboots(&shop);
    the_agents_are_uninstalled(&shop);
    assert_eq!(nodes.map(of_a_node), nodes_before);
    assert_eq!(["client", "near"].map(|pod| of_a_pod(&shop, pod)), pods_before);
    assert_eq!(older.exchange().unwrap(), Count::all(CROWD));
}

fn a_node_reboots(shop: &Shop) {
    let node = shop.node("n2");
    let near = shop.echo_at("near");
    shop.cluster.apply(&dialler("dialler", NAMESPACE, node, near)).unwrap();
    shop.wait_running();
    assert_captured_without_fail(shop, "dialler");
    let agent = agents(shop, node);

    node.reboot().unwrap();
    assert!(read(node, CONFLIST).contains("millstream-cni"), "the disk keeps it");
    for pod in ["far", "dialler"] {
        wait_for("the pod to be started anew", || restarts(shop, pod) == Some(1));
    }
    shop.cluster.wait_ready(node).unwrap();
    shop.wait_running();
    for pod in ["far", "dialler"] {
        assert_captured_without_fail(shop, pod);
    }
    // The pod's containers were restarted; it was not made anew.
    assert_eq!(agents(shop, node), agent);
    assert_eq!(records(&logs(shop, node), "dialler"), FIRST, "{}", logs(shop, node));
    let mut crowd = shop.crowd(shop.echo_at("far"), CROWD);
    assert_eq!(crowd.standing().unwrap(), Count::all(CROWD));
    assert_eq!(crowd.end().unwrap(), Count::all(CROWD));
}

fn the_agents_are_uninstalled(shop: &Shop) {
    let loads = ["near", "far"].map(|server| shop.load(shop.echo_at(server)));
    shop.cluster.uninstall().unwrap();
    for load in loads {
        assert_eq!(failures(load), json!({}));
    }
    let annotated: Vec<_> = shop.pods().into_iter().filter(|pod| redirection(pod).is_some()).collect();
    assert!(annotated.is_empty(), "{annotated:?}");
    // Pods come and go as if nobody had ever been there.
    shop.cluster.apply(&dialler("after", NAMESPACE, shop.node("n2"), shop.echo_at("near"))).unwrap();
    shop.wait_running();
    shop.kubectl(&["delete", "pod", "after", "--namespace=shop"]);
}

fn restarts(shop: &Shop, pod: &str) -> Option<u64> {
    shop.pod(pod)["status"]["containerStatuses"][0]["restartCount"].as_u64()
}

fn of_a_pod(shop: &Shop, pod: &str) -> String {
    Inside::of(shop, "n1", pod).run(&["sh", "-c", OF_A_POD])
}

fn of_a_node(node: &Node) -> String {
    let name = format!("NODE={}", node.name());
    node.run(&["env", &name, "sh", "-c", OF_A_NODE]).unwrap().stdout().unwrap().to_owned()
}
