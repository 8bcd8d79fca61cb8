//! The agents are replaced, again and again, and nobody notices.

use std::{thread, time::Duration};

use cluster::release::IN_NAMESPACE;
use harness::{Count, Process};
use serde_json::{Value, json};

use crate::{
    daemonset::{
        agent_pods, agents, assert_captured_without_fail, assert_dialled_through, daemon_set, dialler,
        install, logs,
    },
    shop::{NAMESPACE, Shop, failures},
};

const CROWD: usize = 10;
/// Between two new pods.
const PAUSE: Duration = Duration::from_millis(500);
const LEVEL: &str = "{.spec.template.spec.containers[0].env[?(@.name==\"RUST_LOG\")].value}";

#[test]
fn agents_are_replaced_and_no_connection_is_refused() {
    let shop = Shop::open("rolls");
    install(&shop, &[]);
    let loads = ["near", "far"].map(|server| shop.load(shop.echo_at(server)));
    the_daemon_set_is_restarted_while_pods_are_made(&shop);
    for level in ["debug", "warn\\,access=info"] {
        shop.cluster.upgrade(&[&format!("logLevel={level}")]).unwrap();
        assert_eq!(daemon_set(&shop, LEVEL), level.replace('\\', ""));
    }
    shop.cluster.rollback().unwrap();
    assert_eq!(daemon_set(&shop, LEVEL), "debug");
    for load in loads {
        assert_eq!(failures(load), json!({}));
    }
    shop.wait_running();
    shop.wait_captured();
}

fn the_daemon_set_is_restarted_while_pods_are_made(shop: &Shop) {
    let nodes = ["n1", "n2"].map(|node| shop.node(node));
    let near = shop.echo_at("near");
    let mut crowd = Some(shop.crowd(near, CROWD));
    assert_eq!(crowd.as_mut().unwrap().standing().unwrap(), Count::all(CROWD));
    // They are gone with their pods.
    let before = agent_pods(shop).iter().map(|pod| follow(shop, pod)).collect::<Vec<_>>();
    let old = agents(shop, nodes[0]);

    shop.kubectl(&["rollout", "restart", "daemonset/millstream", IN_NAMESPACE]);
    let mut made = Vec::new();
    while !is_rolled(shop) {
        let (name, node) = (format!("made-{}", made.len()), nodes[made.len() % 2]);
        shop.cluster.apply(&dialler(&name, NAMESPACE, node, near)).unwrap();
        made.push((name, node));
        if is_ending(shop, &old[0])
            && let Some(mut crowd) = crowd.take()
        {
            assert_eq!(crowd.exchange().unwrap(), Count::all(CROWD));
            assert_eq!(crowd.end().unwrap(), Count::all(CROWD));
        }
        assert!(made.len() < 100, "the DaemonSet is not rolled out: {:?}", agent_pods(shop));
        thread::sleep(PAUSE);
    }
    assert!(crowd.is_none(), "nobody saw the older agent of n1 end");

    shop.wait_running();
    let before: String = before.into_iter().map(told).collect();
    for (pod, node) in &made {
        assert_captured_without_fail(shop, pod);
        assert_dialled_through(shop, &(before.clone() + &logs(shop, node)), pod);
    }
}

/// Both nodes have another agent, and the one before it is gone.
fn is_rolled(shop: &Shop) -> bool {
    let counts = "{.metadata.generation} {.status.observedGeneration} {.status.updatedNumberScheduled} \
                  {.status.numberAvailable}";
    let counts = daemon_set(shop, counts);
    let counts: Vec<_> = counts.split(' ').collect();
    matches!(counts[..], [wanted, seen, "2", "2"] if wanted == seen) && agent_pods(shop).len() == 2
}

fn is_ending(shop: &Shop, agent: &str) -> bool {
    let pods = agent_pods(shop);
    let pod = pods.iter().find(|pod| pod["metadata"]["name"] == agent);
    pod.is_some_and(|pod| pod["metadata"].get("deletionTimestamp").is_some())
}

fn follow(shop: &Shop, agent: &Value) -> Process {
    let name = agent["metadata"]["name"].as_str().unwrap();
    let args = ["logs", "--follow", IN_NAMESPACE, name];
    shop.cluster.start_kubectl(&args).unwrap()
}

fn told(logs: Process) -> String {
    logs.wait(Duration::from_secs(30)).unwrap().stdout().unwrap().to_owned() + "\n"
}
