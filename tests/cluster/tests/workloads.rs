//! Workloads of every kind live in the shop, and leave nothing there when they go.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use cluster::{IMAGE, Node, NodeAgent};
use harness::{Count, Crowd, PATIENCE, peer_program};
use serde_json::{Value, json};

use crate::shop::{ECHO, NAMESPACE, Shop, Still, failures, redirection, wait_for};

const CROWD: usize = 5;
const SERVE: &str = "peer serve --mode crowd --listen [::]:7";
const HOST_PORT: u16 = 7007;
/// Of the pod in the host's network.
const HOST_ECHO: u16 = 7070;
/// Where nobody asks for capture.
const ELSEWHERE: &str = "elsewhere";

#[test]
fn workloads_of_every_kind_live_in_the_mesh_and_leave_nothing_there() {
    let shop = Shop::with_agents("workloads");
    shop.label(Some("ambient"));
    shop.cluster.apply(&workloads(&shop)).unwrap();

    a_pod_is_captured_while_its_init_containers_run(&shop);
    a_job_is_captured_and_let_go_when_it_has_finished(&shop);
    a_rollout_under_load_harms_no_connection(&shop);
    pods_of_a_stateful_set_are_reached_by_their_own_addresses(&shop);
    a_port_of_the_host_leads_into_the_mesh(&shop);
    a_pod_in_the_network_of_the_host_is_named_and_works_without_the_mesh(&shop);
    a_static_pod_is_captured_like_any(&shop);
    pods_that_come_and_go_leave_nothing_behind(&shop);
    whoever_gets_the_address_of_another_is_a_stranger(&shop);
    nobody_was_told_of_a_failure(&shop);
}

fn a_pod_is_captured_while_its_init_containers_run(shop: &Shop) {
    wait_for("the pod to be captured before it has started", || redirection(&shop.pod("staged")).is_some());
    assert_eq!(redirection(&shop.pod("staged")), Some("enabled"));
    assert_eq!(shop.pod("staged")["status"]["phase"], "Pending");
    wait_for("its second init container to run", || {
        shop.pod("staged")["status"]["initContainerStatuses"][1]["state"]["running"].is_object()
    });
    go(shop, &["staged", "--container=prepare"]);
    shop.cluster.wait(&["--for=condition=Ready", "pod/staged", "--namespace=shop"]).unwrap();
    assert_eq!(told(shop, &["staged", "--container=prepare"])["failures"], json!({}));
    let main = shop.echo_at("staged");
    exchange(shop.crowd(main, CROWD));
    // The sidecar of its own.
    exchange(shop.crowd(SocketAddr::new(main.ip(), 8), CROWD));
}

fn a_job_is_captured_and_let_go_when_it_has_finished(shop: &Shop) {
    let pods = || {
        let args = ["get", "pods", "--namespace=shop", "--selector=job-name=once", "--output=json"];
        shop.cluster.kubectl(&args).unwrap().json().unwrap()["items"].as_array().unwrap().clone()
    };
    wait_for("the job to be captured", || pods().first().and_then(redirection) == Some("enabled"));
    go(shop, &["job/once"]);
    shop.cluster.wait(&["--for=condition=Complete", "job/once", "--namespace=shop"]).unwrap();
    assert_eq!(told(shop, &["job/once"])["failures"], json!({}));
    assert_eq!(pods()[0]["status"]["phase"], "Succeeded");
    wait_settled(shop);
    let rows = shop.agent("n1").json(&["pods"]).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["name"] == pods()[0]["metadata"]["name"]);
    assert_eq!(row.unwrap()["because"], "not enrolled: the pod has finished", "{rows}");
}

fn a_rollout_under_load_harms_no_connection(shop: &Shop) {
    let status = ["rollout", "status", "deployment/web", "--namespace=shop", "--timeout=80s"];
    shop.kubectl(&status);
    wait_settled(shop);
    let vip =
        shop.kubectl(&["get", "service/web", "--namespace=shop", "--output=jsonpath={.spec.clusterIP}"]);
    let addr = SocketAddr::new(vip.parse().unwrap(), 80);
    let why = shop.agent("n1").json(&["why", "shop/client", &addr.to_string()]).unwrap();
    assert_eq!(why["verdict"], "proxied", "{why}");
    let before = names(&of_app(shop, "web"));

    let load = shop.load(addr);
    shop.kubectl(&["rollout", "restart", "deployment/web", "--namespace=shop"]);
    shop.kubectl(&status);
    wait_settled(shop);
    wait_for("the old pods to be gone", || names(&of_app(shop, "web")).is_disjoint(&before));
    assert_eq!(failures(load), json!({}));
    wait_settled(shop);
}

fn pods_of_a_stateful_set_are_reached_by_their_own_addresses(shop: &Shop) {
    shop.kubectl(&["rollout", "status", "statefulset/db", "--namespace=shop", "--timeout=80s"]);
    wait_settled(shop);
    for pod in ["db-0", "db-1"] {
        let addr = shop.echo_at(pod);
        let mut crowd = shop.crowd(addr, CROWD);
        assert_eq!(crowd.standing().unwrap(), Count::all(CROWD));
        let rows = connections(shop.agent("n1"), |row| {
            row["direction"] == "outbound" && row["original_dst"] == addr.to_string()
        });
        assert_eq!(rows.len(), CROWD, "{rows:?}");
        assert!(rows.iter().all(|row| row["upstream_workload"]["name"] == pod), "{rows:?}");
        assert_eq!(crowd.end().unwrap(), Count::all(CROWD));
    }
}

fn a_port_of_the_host_leads_into_the_mesh(shop: &Shop) {
    let [there, here] = ["n2", "n1"].map(|node| shop.node(node).addresses().v4);
    let addr = SocketAddr::new(there.into(), HOST_PORT);
    let peer = peer_program().unwrap();
    let args = [peer.to_str().unwrap(), "crowd", &addr.to_string(), "--connections", &CROWD.to_string()];
    let mut crowd = Crowd::of(shop.node("n1").machine().spawn(&args).unwrap());
    assert_eq!(crowd.standing().unwrap(), Count::all(CROWD));
    let client = format!("{here}:");
    let rows = connections(shop.agent("n2"), |row| {
        row["pod"]["name"] == "port" && row["client"].as_str().unwrap().starts_with(&client)
    });
    assert_eq!(rows.len(), CROWD, "{rows:?}");
    assert_eq!(crowd.end().unwrap(), Count::all(CROWD));
}

fn a_pod_in_the_network_of_the_host_is_named_and_works_without_the_mesh(shop: &Shop) {
    let status = shop.agent("n1").json(&["status"]).unwrap();
    let why = "pod shop/host: the pod uses the host's network, which namespace label \
               istio.io/dataplane-mode=ambient does not change";
    assert_eq!(status["uncapturable"], json!([why]));
    let metrics = shop.agent("n1").metrics().unwrap();
    let series = r#"millstream_uncaptured_pods{namespace="shop",pod="host",reason="host-network"} 1"#;
    assert!(metrics.lines().any(|line| line == series), "{metrics}");
    assert_eq!(redirection(&shop.pod("host")), None);
    exchange(shop.crowd(SocketAddr::new(shop.node("n1").addresses().v4.into(), HOST_ECHO), CROWD));
    for server in ["near", "far"] {
        let addr = shop.echo_at(server).to_string();
        let args = ["exec", "--namespace=shop", "host", "--", "peer", "load", &addr, "--count", "20"];
        let told: Value = shop.cluster.kubectl(&args).unwrap().stdout().map(last_line).unwrap();
        assert_eq!(told["failures"], json!({}), "{server}");
    }
}

fn a_static_pod_is_captured_like_any(shop: &Shop) {
    let node = shop.node("n2");
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "static", "namespace": NAMESPACE },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "server",
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "command": SERVE.split(' ').collect::<Vec<_>>(),
            }],
        },
    });
    let file = "/etc/kubernetes/manifests/static.json";
    let sh = |command: &str| node.run(&["sh", "-c", command]).unwrap().stdout().map(drop).unwrap();
    sh(&format!("echo '{manifest}' > {file}"));
    let mirror = format!("static-{}", node.name());
    wait_for("the mirror of the static pod", || names(&shop.pods()).contains(&mirror));
    wait_for("the static pod to be captured", || redirection(&shop.pod(&mirror)) == Some("enabled"));
    exchange(shop.crowd(shop.echo_at(&mirror), CROWD));
    sh(&format!("rm {file}"));
    wait_for("the static pod to be gone", || !names(&shop.pods()).contains(&mirror));
}

fn pods_that_come_and_go_leave_nothing_behind(shop: &Shop) {
    shop.kubectl(&["scale", "deployment/churn", "--replicas=10", "--namespace=shop"]);
    let available = ["rollout", "status", "deployment/churn", "--namespace=shop", "--timeout=80s"];
    shop.kubectl(&available);
    wait_settled(shop);
    let before = of_app(shop, "churn");
    shop.kubectl(&["delete", "pods", "--selector=app=churn", "--namespace=shop"]);
    shop.kubectl(&available);
    wait_settled(shop);
    assert!(names(&of_app(shop, "churn")).is_disjoint(&names(&before)));
    shop.kubectl(&["scale", "deployment/churn", "--replicas=0", "--namespace=shop"]);
    wait_for("all of them to be gone", || of_app(shop, "churn").is_empty());
    wait_settled(shop);
}

fn whoever_gets_the_address_of_another_is_a_stranger(shop: &Shop) {
    shop.add(Still { name: "first", node: "n1", command: SERVE });
    wait_settled(shop);
    let addr = shop.echo_at("first");
    exchange(shop.crowd(addr, CROWD));

    shop.kubectl(&["delete", "pod", "first", "--namespace=shop"]);
    next_address(shop.node("n1"), addr.ip());
    shop.cluster.apply(&server_elsewhere(shop.node("n1"))).unwrap();
    shop.cluster.wait(&["--for=condition=Ready", "pod/second", "--namespace=elsewhere"]).unwrap();
    let second = || shop.cluster.kubectl(&["get", "pod", "second", "--namespace=elsewhere", "--output=json"]);
    assert_eq!(second().unwrap().json().unwrap()["status"]["podIP"], addr.ip().to_string());
    wait_settled(shop);
    let mut crowd = shop.crowd(addr, CROWD);
    assert_eq!(crowd.standing().unwrap(), Count::all(CROWD));
    let rows = connections(shop.agent("n1"), |row| row["original_dst"] == addr.to_string());
    assert_eq!(rows.len(), CROWD, "of the client alone: {rows:?}");
    assert!(rows.iter().all(|row| row["upstream_workload"]["name"] == "second"), "{rows:?}");
    assert_eq!(crowd.end().unwrap(), Count::all(CROWD));
    let why = shop.agent("n1").json(&["why", "elsewhere/second", &shop.echo_at("far").to_string()]).unwrap();
    assert_eq!(why["verdict"], "direct", "{why}");
    assert_eq!(redirection(&second().unwrap().json().unwrap()), None);

    shop.kubectl(&["delete", "namespace", ELSEWHERE]);
    next_address(shop.node("n1"), addr.ip());
    shop.add(Still { name: "third", node: "n1", command: SERVE });
    wait_settled(shop);
    assert_eq!(shop.echo_at("third"), addr);
    exchange(shop.crowd(addr, CROWD));
}

/// A pod that ends is not one that cannot be captured.
fn nobody_was_told_of_a_failure(shop: &Shop) {
    let reason = "--field-selector=reason=NotCaptured";
    let events = shop.kubectl(&["get", "events", "--all-namespaces", reason, "--output=json"]);
    let events: Value = serde_json::from_str(&events).unwrap();
    let notes: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| &event["message"]).collect();
    assert!(notes.is_empty(), "{notes:?}");
}

/// What runs in the shop is captured, and nothing else: in the cluster's words, in the agents', and in the kernel.
fn wait_settled(shop: &Shop) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(why) = settled(shop) {
        assert!(Instant::now() < deadline, "{why}\n{}", shop.cluster.autopsy());
        thread::sleep(Duration::from_millis(100));
    }
}

fn settled(shop: &Shop) -> Result<(), String> {
    let pods = shop.pods();
    let is_over = |pod: &Value| {
        let metadata = &pod["metadata"];
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        ["Succeeded", "Failed"].contains(&phase) || metadata.get("deletionTimestamp").is_some()
    };
    let wanted: Vec<_> =
        pods.iter().filter(|pod| pod["spec"]["hostNetwork"] != true && !is_over(pod)).collect();
    if let Some(pod) = wanted.iter().find(|pod| redirection(pod) != Some("enabled")) {
        return Err(format!("not annotated: {}", pod["metadata"]["name"]));
    }
    for node in ["n1", "n2"].map(|node| shop.node(node)) {
        let expected: BTreeSet<_> = wanted
            .iter()
            .filter(|pod| pod["spec"]["nodeName"] == node.name())
            .map(|pod| format!("{NAMESPACE}/{}", pod["metadata"]["name"].as_str().unwrap()))
            .collect();
        settled_on(node, &expected)?;
    }
    Ok(())
}

fn settled_on(node: &Node, expected: &BTreeSet<String>) -> Result<(), String> {
    let agent = node.agent();
    let status = status(agent);
    if status["problems"] != json!([]) {
        return Err(format!("problems of {}: {}", node.name(), status["problems"]));
    }
    if status["pods"]["captured"] != expected.len() || status["pods"]["failed"] != 0 {
        return Err(format!("{}: {} instead of {expected:?}", node.name(), status["pods"]));
    }
    let maps = agent.json(&["maps", "pods"]).unwrap();
    let maps = maps.as_array().unwrap();
    let in_maps: BTreeSet<_> = maps.iter().map(|row| row["pod"].as_str().unwrap().to_owned()).collect();
    if maps.len() != expected.len() || in_maps != *expected {
        return Err(format!("in the maps of {}: {maps:?} instead of {expected:?}", node.name()));
    }
    let list = |command: &str| node.run(&["sh", "-c", command]).unwrap().stdout().unwrap().to_owned();
    let journal = list("ls /run/millstream/journal");
    if journal.lines().count() != expected.len() {
        return Err(format!("in the journal of {}: {journal} instead of {expected:?}", node.name()));
    }
    let links = list(&format!("ls /sys/fs/bpf/millstream/{}/links", node.name()));
    let cookies: BTreeSet<_> = links.lines().filter_map(|link| link.split('-').nth(1)).collect();
    let known: BTreeSet<_> =
        maps.iter().map(|row| format!("{:x}", row["netns_cookie"].as_u64().unwrap())).collect();
    if !cookies.iter().copied().eq(known.iter().map(String::as_str)) {
        return Err(format!("links of {}: {links} instead of those of {known:?}", node.name()));
    }
    Ok(())
}

/// Also one with problems, which makes the command fail.
fn status(agent: NodeAgent<'_>) -> Value {
    let output = agent.cli(&["status", "--output", "json"]).unwrap();
    serde_json::from_str(output.any_stdout()).unwrap_or_else(|e| panic!("{e}: {}", output.stderr))
}

fn connections(agent: NodeAgent<'_>, which: impl Fn(&Value) -> bool) -> Vec<Value> {
    let rows = agent.json(&["connections"]).unwrap();
    rows.as_array().unwrap().iter().filter(|row| which(row)).cloned().collect()
}

fn exchange(mut crowd: Crowd) {
    assert_eq!(crowd.standing().unwrap(), Count::all(CROWD));
    assert_eq!(crowd.end().unwrap(), Count::all(CROWD));
}

fn of_app(shop: &Shop, app: &str) -> Vec<Value> {
    shop.pods().into_iter().filter(|pod| pod["metadata"]["labels"]["app"] == app).collect()
}

fn names(pods: &[Value]) -> BTreeSet<String> {
    pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Lets a container go on that waits until it is told to.
fn go(shop: &Shop, container: &[&str]) {
    let args: Vec<_> = ["exec", "--namespace=shop"]
        .iter()
        .chain(container)
        .chain(&["--", "touch", "/tmp/go"])
        .copied()
        .collect();
    shop.kubectl(&args);
}

/// The last thing that a container told.
fn told(shop: &Shop, container: &[&str]) -> Value {
    let args: Vec<_> = ["logs", "--namespace=shop"].iter().chain(container).copied().collect();
    last_line(&shop.kubectl(&args))
}

fn last_line(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Has the CNI plugin of a node give this address to the next pod: it goes on behind the last that it gave.
fn next_address(node: &Node, ip: IpAddr) {
    let IpAddr::V4(ip) = ip else { panic!("{ip} is not of the first family") };
    let taken = format!("/var/lib/cni/networks/pods/{ip}");
    wait_for("the address to be given back", || !node.run(&["ls", &taken]).unwrap().status.success());
    let last = Ipv4Addr::from_bits(ip.to_bits() - 1);
    let write = format!("printf {last} > /var/lib/cni/networks/pods/last_reserved_ip.0");
    node.run(&["sh", "-c", &write]).unwrap().stdout().unwrap();
}

fn workloads(shop: &Shop) -> String {
    let [n1, n2] = ["n1", "n2"].map(|node| shop.node(node).name());
    let near = shop.echo_at("near");
    let serve: Vec<_> = SERVE.split(' ').collect();
    let container = format!("image: {IMAGE}, imagePullPolicy: Never");
    let when_told = "until [ -e /tmp/go ]; do sleep 0.1; done";
    let load = format!("'{when_told}; exec peer load {near} --count 20'");
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web, namespace: {NAMESPACE} }}
spec:
  replicas: 2
  strategy: {{ rollingUpdate: {{ maxUnavailable: 0, maxSurge: 1 }} }}
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      # Until everybody has heard that it goes, it serves; then it has no connection left to end.
      terminationGracePeriodSeconds: 5
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: ScheduleAnyway
        labelSelector: {{ matchLabels: {{ app: web }} }}
      containers:
      - name: web
        image: {IMAGE}
        imagePullPolicy: Never
        command: {serve:?}
        ports: [{{ name: echo, containerPort: {ECHO} }}]
        readinessProbe: {{ tcpSocket: {{ port: echo }}, periodSeconds: 1 }}
        lifecycle: {{ preStop: {{ sleep: {{ seconds: 4 }} }} }}
---
apiVersion: v1
kind: Service
metadata: {{ name: web, namespace: {NAMESPACE} }}
spec:
  selector: {{ app: web }}
  ports: [{{ name: echo, port: 80, targetPort: echo }}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{ name: db, namespace: {NAMESPACE} }}
spec:
  serviceName: db
  replicas: 2
  podManagementPolicy: Parallel
  selector: {{ matchLabels: {{ app: db }} }}
  template:
    metadata: {{ labels: {{ app: db }} }}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{ name: db, {container}, command: {serve:?} }}]
---
apiVersion: v1
kind: Service
metadata: {{ name: db, namespace: {NAMESPACE} }}
spec:
  clusterIP: None
  selector: {{ app: db }}
  ports: [{{ name: echo, port: {ECHO} }}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: churn, namespace: {NAMESPACE} }}
spec:
  replicas: 0
  selector: {{ matchLabels: {{ app: churn }} }}
  template:
    metadata: {{ labels: {{ app: churn }} }}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{{ name: churn, {container}, command: {serve:?} }}]
---
apiVersion: batch/v1
kind: Job
metadata: {{ name: once, namespace: {NAMESPACE} }}
spec:
  template:
    spec:
      nodeName: {n1}
      restartPolicy: Never
      containers: [{{ name: once, {container}, command: [sh, -c, {load}] }}]
---
apiVersion: v1
kind: Pod
metadata: {{ name: staged, namespace: {NAMESPACE} }}
spec:
  nodeName: {n2}
  terminationGracePeriodSeconds: 0
  initContainers:
  - name: sidecar
    image: {IMAGE}
    imagePullPolicy: Never
    command: [peer, serve, --mode, crowd, --listen, '[::]:8']
    restartPolicy: Always
    startupProbe: {{ tcpSocket: {{ port: 8 }}, periodSeconds: 1 }}
  - {{ name: prepare, {container}, command: [sh, -c, {load}] }}
  containers: [{{ name: main, {container}, command: {serve:?} }}]
---
apiVersion: v1
kind: Pod
metadata: {{ name: port, namespace: {NAMESPACE} }}
spec:
  nodeName: {n2}
  terminationGracePeriodSeconds: 0
  containers:
  - {{ name: main, {container}, command: {serve:?}, ports: [{{ containerPort: {ECHO}, hostPort: {HOST_PORT} }}] }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: host, namespace: {NAMESPACE} }}
spec:
  nodeName: {n1}
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers: [{{ name: main, {container}, command: [peer, serve, --mode, crowd, --listen, '[::]:{HOST_ECHO}'] }}]
"
    )
}

fn server_elsewhere(node: &Node) -> String {
    let serve: Vec<_> = SERVE.split(' ').collect();
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{ name: {ELSEWHERE} }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: second, namespace: {ELSEWHERE} }}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers: [{{ name: main, image: {IMAGE}, imagePullPolicy: Never, command: {serve:?} }}]
",
        node = node.name(),
    )
}
