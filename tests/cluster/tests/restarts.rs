//! Captured pods and the probes of their kubelet, through restarts of everything else on the node, and of the node.

use std::{collections::BTreeSet, path::Path};

use cluster::{IMAGE, NodeAgent, program};
use harness::Count;
use serde_json::Value;

use crate::{
    inside::{Inside, each_netns, kernel_pods},
    shop::{NAMESPACE, Shop, redirection, wait_for},
};

const CROWD: usize = 10;
const PROBED: &str = "probed";
/// One for each kind of probe.
const CONTAINERS: usize = 4;
/// The connections of three rounds of probes: one more than a container is given until it is killed.
const ROUNDS: u64 = 3 * 2 * 3;

#[test]
fn probes_reach_captured_pods_through_flips_of_the_label_and_restarts_of_everything() {
    let shop = Shop::with_agents("restarts");
    shop.cluster.apply(&probed(&shop)).unwrap();
    shop.label(Some("ambient"));
    shop.wait_captured();
    wait_for("all containers of the probed pod to run", || running(&shop) == CONTAINERS);

    // Startup probes: the containers begin to serve when there is no agent.
    shop.agent("n1").kill().unwrap();
    let go = ["exec", "--namespace=shop", PROBED, "--container=exec", "--", "touch", "/shared/go"];
    shop.kubectl(&go);
    shop.wait_running();
    shop.agent("n1").launch().unwrap();
    let healthy = health(&shop);

    probe_rounds(shop.agent("n1"));
    for _ in 0..2 {
        shop.label(None);
        wait_for("annotations to be gone", || shop.pods().iter().all(|pod| redirection(pod).is_none()));
        shop.label(Some("ambient"));
        shop.wait_captured();
    }
    probe_rounds(shop.agent("n1"));
    shop.dismiss_agent("n1");
    probe_rounds(shop.agent("n1"));
    shop.recall_agent("n1");
    shop.agent("n1").wait(&["ready"]).unwrap();
    shop.agent("n1").kill().unwrap();
    probe_rounds(shop.agent("n1"));
    shop.agent("n1").launch().unwrap();
    assert_eq!(health(&shop), healthy);

    // What another process of the node asks for has a record, and no probe has one.
    let page = format!("http://{}:8080/", shop.echo_at(PROBED).ip());
    assert_eq!(records(&shop), 0);
    let answer = shop.node("n1").run(&["curl", "--silent", "--show-error", &page]).unwrap();
    assert_eq!(answer.stdout().unwrap(), "fine");
    wait_for("a record", || records(&shop) == 1);

    kubelet_and_containerd_are_killed(&shop);
    assert_eq!(health(&shop), healthy);
    assert_eq!(restarts(&shop), [0; CONTAINERS]);
    n1_reboots(&shop);
}

fn kubelet_and_containerd_are_killed(shop: &Shop) {
    let node = shop.node("n1");
    let client = Inside::of(shop, "n1", "client");
    let mut crowds = ["near", "far"].map(|server| client.crowd(shop.echo_at(server), CROWD));
    for crowd in &mut crowds {
        assert_eq!(crowd.standing().unwrap(), Count::all(CROWD));
    }
    let before = probes(shop);

    node.kill_kubelet().unwrap();
    node.kill_containerd().unwrap();
    for crowd in &mut crowds {
        assert_eq!(crowd.exchange().unwrap(), Count::all(CROWD));
    }
    node.start_containerd().unwrap();
    node.start_kubelet().unwrap();
    wait_for("the new kubelet to be known", || ![before.as_str(), ""].contains(&probes(shop).as_str()));
    probe_rounds(shop.agent("n1"));
    // Those that came before it was known have their records by now.
    let known = records(shop);
    probe_rounds(shop.agent("n1"));
    assert_eq!(records(shop), known);
    shop.wait_running();
    shop.wait_captured();
    for crowd in &mut crowds {
        assert_eq!(crowd.exchange().unwrap(), Count::all(CROWD));
    }
    let mut more = client.crowd(shop.echo_at("far"), CROWD);
    assert_eq!(more.standing().unwrap(), Count::all(CROWD));
    for crowd in crowds.into_iter().chain([more]) {
        assert_eq!(crowd.end().unwrap(), Count::all(CROWD));
    }
}

fn n1_reboots(shop: &Shop) {
    let old: Vec<_> = kernel_pods(shop.agent("n1"));
    shop.node("n1").reboot().unwrap();
    wait_for("containers to be started anew", || restarts(shop).iter().all(|restarts| 1 <= *restarts));
    shop.wait_running();
    let captured = BTreeSet::from(["client", "near", PROBED].map(|pod| format!("{NAMESPACE}/{pod}")));
    for pod in &captured {
        shop.agent("n1").wait(&["captured", pod]).unwrap();
    }
    shop.wait_captured();
    let new = kernel_pods(shop.agent("n1"));
    assert_eq!(new.iter().map(|(_, pod)| pod.clone()).collect::<BTreeSet<_>>(), captured);
    assert_eq!(new.len(), captured.len(), "{new:?}");
    assert!(new.iter().all(|pod| !old.contains(pod)), "{new:?} has some of {old:?}");
    let status = shop.agent("n1").json(&["status"]).unwrap();
    assert_eq!(status["problems"], serde_json::json!([]));
    let turned = each_netns(shop.node("n1"), "ip rule | grep -c 15001; ip -6 rule | grep -c 15001");
    assert_eq!(turned.lines().filter(|count| *count == "1").count(), 2 * captured.len(), "{turned}");

    let mut crowd = Inside::of(shop, "n1", "client").crowd(shop.echo_at("far"), CROWD);
    assert_eq!(crowd.standing().unwrap(), Count::all(CROWD));
    let rows = shop.agent("n1").json(&["connections"]).unwrap();
    assert!(CROWD <= rows.as_array().unwrap().len(), "{rows}");
    assert_eq!(crowd.end().unwrap(), Count::all(CROWD));
    probe_rounds(shop.agent("n1"));
}

/// A pod with every kind of probe. Its containers serve as soon as there is a certain file.
fn probed(shop: &Shop) -> String {
    let etcd = program("etcd").unwrap();
    let programs = etcd.parent().map(Path::display).unwrap();
    let container = |name: &str, command: &str, probe: &str| {
        let of = |kind: &str, failures: u32| {
            format!(
                "
    {kind}: {{ {probe}, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: {failures} }}"
            )
        };
        format!(
            "
  - name: {name}
    image: {IMAGE}
    imagePullPolicy: Never
    command: [sh, -c, 'until [ -e /shared/go ]; do sleep 0.1; done; {command}']
    volumeMounts: [{{ name: shared, mountPath: /shared }}, {{ name: programs, mountPath: /programs }}]{}{}{}",
            of("startupProbe", 600),
            of("readinessProbe", 2),
            of("livenessProbe", 2),
        )
    };
    let etcd = "exec /programs/etcd --data-dir=/tmp/etcd --unsafe-no-fsync \
                --listen-client-urls=http://0.0.0.0:2379 --advertise-client-urls=http://127.0.0.1:2379";
    let containers = [
        container(
            "http",
            "mkdir -p /www && echo fine > /www/index.html && exec httpd -f -p 8080 -h /www",
            "httpGet: { path: /, port: 8080 }",
        ),
        container("tcp", "exec peer serve --mode crowd --listen [::]:7", "tcpSocket: { port: 7 }"),
        container("grpc", etcd, "grpc: { port: 2379 }"),
        container(
            "exec",
            "exec sleep 2147483647",
            "exec: { command: [wget, -q, -O-, 'http://127.0.0.1:8080/'] }",
        ),
    ];
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{ name: {PROBED}, namespace: {NAMESPACE} }}
spec:
  nodeName: {}
  terminationGracePeriodSeconds: 0
  volumes:
  - {{ name: shared, emptyDir: {{}} }}
  - {{ name: programs, hostPath: {{ path: {programs}, type: Directory }} }}
  containers:{}
",
        shop.node("n1").name(),
        containers.concat()
    )
}

/// Waits until the probes of a few rounds have passed, one agent or none.
fn probe_rounds(agent: NodeAgent<'_>) {
    let passed = || {
        let counters = agent.json(&["maps", "counters"]).unwrap();
        let is_probe =
            |row: &&Value| row["program"] == "steer" && row["outcome"] == "passed: probe from the node";
        counters.as_array().unwrap().iter().find(is_probe).unwrap()["count"].as_u64().unwrap()
    };
    let enough = passed() + ROUNDS;
    wait_for("probes to pass", || enough <= passed());
}

/// What must not change while probes succeed.
fn health(shop: &Shop) -> (Vec<u64>, String, u64) {
    let pod = shop.pod(PROBED);
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
    assert_eq!(ready["status"], "True");
    let events = ["get", "events", "--namespace=shop", "--output=json"];
    let failed = format!("--field-selector=reason=Unhealthy,involvedObject.name={PROBED}");
    let events = shop.cluster.kubectl(&[&events[..], &[&failed]].concat()).unwrap().json().unwrap();
    let failed = events["items"].as_array().unwrap().iter().filter_map(|event| event["count"].as_u64()).sum();
    (restarts(shop), ready["lastTransitionTime"].to_string(), failed)
}

fn running(shop: &Shop) -> usize {
    containers(shop).iter().filter(|container| container["state"]["running"].is_object()).count()
}

fn containers(shop: &Shop) -> Vec<Value> {
    shop.pod(PROBED)["status"]["containerStatuses"].as_array().cloned().unwrap_or_default()
}

fn restarts(shop: &Shop) -> Vec<u64> {
    containers(shop).iter().map(|container| container["restartCount"].as_u64().unwrap()).collect()
}

/// Who probes, as `status` tells it.
fn probes(shop: &Shop) -> String {
    let status = shop.agent("n1").json(&["status"]).unwrap();
    status["probes"].as_str().unwrap_or_default().to_owned()
}

/// Of connections to the containers of the probed pod.
fn records(shop: &Shop) -> usize {
    let servers = [7, 8080, 2379].map(|port| {
        let mut server = shop.echo_at(PROBED);
        server.set_port(port);
        server.to_string()
    });
    let log = shop.agent("n1").log().unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let records = events.filter(|event| event["target"] == "access");
    records.filter(|record| servers.iter().any(|server| record["dst.addr"] == **server)).count()
}
