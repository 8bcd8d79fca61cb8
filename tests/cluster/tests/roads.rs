//! What a captured pod reaches, with and without a network policy: names, the API server, and what lies outside.

use std::net::{Ipv4Addr, SocketAddr};

use cluster::{IMAGE, program};
use harness::{Count, PATIENCE, Process, peer_program};
use serde_json::Value;

use crate::shop::{ECHO, NAMESPACE, Shop, wait_for};

const CROWD: usize = 5;
/// The service before the name server, and what that answers.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const ANSWER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// The address of service `default/kubernetes`.
const API_SERVER: &str = "10.96.0.1:443";

#[test]
fn a_captured_pod_reaches_names_the_api_server_and_the_outside_with_and_without_a_network_policy() {
    let shop = Shop::with_agents("roads");
    shop.label(Some("ambient"));
    shop.cluster.apply(&asker(&shop)).unwrap();
    shop.wait_running();
    shop.wait_captured();
    let (outside, _server) = serve_outside(&shop);

    wait_for("the nodes to know where the service's name server is", || {
        let asked = ["exec", "--namespace=shop", "asker", "--", "nslookup", "-type=a", "web.example"];
        shop.cluster.kubectl(&asked).unwrap().code() == Some(0)
    });
    names_resolve_over_udp_and_tcp(&shop);
    the_api_server_knows_the_pod(&shop);
    connected(&shop, outside, "forward");
    connected(&shop, shop.echo_at("far"), "forward");
    let near = shop.echo_at("near");
    assert_eq!(way(&shop, near), "shop/near, delivered in its namespace");
    connected(&shop, near, "direct");

    shop.cluster.apply(&policy("near")).unwrap();
    wait_for("the policy to be heard of", || way(&shop, near).contains("over the wire"));
    let because = way(&shop, near);
    assert!(because.contains("NetworkPolicy shop/allow"), "{because}");
    connected(&shop, near, "wire");
    // Now of the client's side as well.
    shop.cluster.apply(&policy("asker")).unwrap();
    names_resolve_over_udp_and_tcp(&shop);
    the_api_server_knows_the_pod(&shop);
    connected(&shop, outside, "forward");
    connected(&shop, shop.echo_at("far"), "forward");

    shop.kubectl(&["delete", "networkpolicy", "allow", "--namespace=shop"]);
    wait_for("the policy to be forgotten", || way(&shop, near).contains("delivered in its namespace"));
    connected(&shop, near, "direct");
}

fn names_resolve_over_udp_and_tcp(shop: &Shop) {
    let over_udp = exec(shop, "nslookup -type=a web.example");
    assert!(over_udp.contains(&ANSWER.to_string()), "{over_udp}");
    // The same question, with its length before it.
    let query = r"\0\035\0\07\01\0\0\01\0\0\0\0\0\0\03web\07example\0\0\01\0\01";
    let ask = format!("printf '{query}' | nc {RESOLVER} 53 | tail -c 4 | od -An -tu1");
    let octets: Vec<u8> = exec(shop, &ask).split_whitespace().map(|octet| octet.parse().unwrap()).collect();
    assert_eq!(octets, ANSWER.octets());
    assert_eq!(why(shop, &format!("{RESOLVER}:53"))["verdict"], "proxied");
}

fn the_api_server_knows_the_pod(shop: &Shop) {
    let user = exec(shop, "/kubectl auth whoami --output=jsonpath={.status.userInfo.username}");
    assert_eq!(user, "system:serviceaccount:shop:default");
    assert_eq!(why(shop, API_SERVER)["verdict"], "proxied");
}

/// Connections of the captured pod stand, and go this way.
fn connected(shop: &Shop, addr: SocketAddr, via: &str) {
    let (to, connections) = (addr.to_string(), CROWD.to_string());
    let args = ["peer", "crowd", &to, "--connections", &connections];
    let mut crowd = harness::Crowd::of(shop.cluster.exec(NAMESPACE, "asker", &args).unwrap());
    assert_eq!(crowd.standing().unwrap(), Count::all(CROWD), "{addr}");
    let rows = shop.agent("n1").json(&["connections"]).unwrap();
    let rows: Vec<_> = rows
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["direction"] == "outbound" && row["original_dst"] == to)
        .collect();
    assert_eq!(rows.len(), CROWD, "{addr}: {rows:?}");
    assert!(rows.iter().all(|row| row["via"] == via), "{addr}: {rows:?}");
    assert_eq!(crowd.end().unwrap(), Count::all(CROWD), "{addr}");
}

/// What `why` has to say of the way from the pod.
fn way(shop: &Shop, addr: SocketAddr) -> String {
    let why = why(shop, &addr.to_string());
    let steps = why["steps"].as_array().unwrap();
    steps.iter().find(|step| step["stage"] == "select").unwrap()["evidence"].as_str().unwrap().to_owned()
}

fn why(shop: &Shop, destination: &str) -> Value {
    shop.agent("n1").json(&["why", "shop/asker", destination]).unwrap()
}

fn exec(shop: &Shop, line: &str) -> String {
    shop.kubectl(&["exec", "--namespace=shop", "asker", "--", "sh", "-c", line])
}

/// An echo server of no cluster: the address, and how long it serves.
fn serve_outside(shop: &Shop) -> (SocketAddr, Process) {
    // Beside the API server, which is in no pod either.
    let address = ["get", "endpointslice/kubernetes", "--output=jsonpath={.endpoints[0].addresses[0]}"];
    let addr = SocketAddr::new(shop.kubectl(&address).parse().unwrap(), ECHO);
    let peer = peer_program().unwrap();
    let args = [peer.to_str().unwrap(), "serve", "--mode", "crowd", "--listen", &addr.to_string()];
    let mut server = shop.cluster.control().spawn(&args).unwrap();
    assert_eq!(server.json(PATIENCE).unwrap()["event"], "ready");
    (addr, server)
}

/// A pod on the node of the client with a name server of its own choice and `kubectl`, and that name server.
fn asker(shop: &Shop) -> String {
    let [n1, n2] = ["n1", "n2"].map(|node| shop.node(node).name());
    let kubectl = program("kubectl").unwrap();
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{ name: asker, namespace: {NAMESPACE}, labels: {{ app: asker }} }}
spec:
  nodeName: {n1}
  terminationGracePeriodSeconds: 0
  dnsPolicy: None
  dnsConfig: {{ nameservers: ['{RESOLVER}'] }}
  containers:
  - name: main
    image: {IMAGE}
    imagePullPolicy: Never
    command: [sleep, '2147483647']
    volumeMounts: [{{ name: kubectl, mountPath: /kubectl, readOnly: true }}]
  volumes: [{{ name: kubectl, hostPath: {{ path: {kubectl}, type: File }} }}]
---
apiVersion: v1
kind: Pod
metadata: {{ name: names, namespace: {NAMESPACE}, labels: {{ app: names }} }}
spec:
  nodeName: {n2}
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: {IMAGE}
    imagePullPolicy: Never
    command: [peer, dns, --listen, '[::]:53', --answer, {ANSWER}]
    readinessProbe: {{ tcpSocket: {{ port: 53 }}, periodSeconds: 1 }}
---
apiVersion: v1
kind: Service
metadata: {{ name: names, namespace: {NAMESPACE} }}
spec:
  clusterIP: {RESOLVER}
  selector: {{ app: names }}
  ports:
  - {{ name: dns, protocol: UDP, port: 53 }}
  - {{ name: dns-tcp, protocol: TCP, port: 53 }}
",
        kubectl = kubectl.display(),
    )
}

/// It selects a pod and lets everything in: nobody acts on it here.
fn policy(app: &str) -> String {
    format!(
        "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{ name: allow, namespace: {NAMESPACE} }}
spec:
  podSelector: {{ matchLabels: {{ app: {app} }} }}
  ingress: [{{}}]
  egress: [{{}}]
  policyTypes: [Ingress, Egress]
"
    )
}
