//! The admission policies of the chart, met with tokens as the agents have them.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use cluster::{Cluster, release::IN_NAMESPACE};
use harness::PATIENCE;
use serde_json::{Value, json};

use crate::chart::{render, run};

const AGENT: &str = "millstream-agent";
const REDIRECTION: &str = "ambient.istio.io/redirection";
const TAINT: &str = "millstream.dev/agent-not-ready";

/// Nodes `a` and `b`, on each a pod, and an agent on `a`. There is no kubelet.
const OBJECTS: &str = "
apiVersion: v1
kind: Node
metadata: {name: a, labels: {zone: z}}
spec:
  taints:
  - {key: millstream.dev/agent-not-ready, effect: NoSchedule}
  - {key: dedicated, value: db, effect: NoSchedule}
---
apiVersion: v1
kind: Node
metadata: {name: b}
spec: {taints: [{key: millstream.dev/agent-not-ready, effect: NoSchedule}]}
---
apiVersion: v1
kind: Pod
metadata: {name: own, namespace: default, annotations: {other: x}}
spec: {nodeName: a, automountServiceAccountToken: false, containers: [{name: c, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: foreign, namespace: default}
spec: {nodeName: b, automountServiceAccountToken: false, containers: [{name: c, image: none}]}
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: millstream-system}
spec: {nodeName: a, serviceAccountName: millstream, containers: [{name: c, image: none}]}
";

#[derive(Clone, Copy, Debug)]
enum Request {
    /// The status of a pod.
    Pod(&'static str),
    Node(&'static str),
    NewEvent,
    Event(&'static str),
}

struct Case {
    name: &'static str,
    request: Request,
    body: Value,
    /// Part of the message, where it is refused.
    refused: Option<&'static str>,
}

fn case(name: &'static str, request: Request, body: Value, refused: Option<&'static str>) -> Case {
    Case { name, request, body, refused }
}

fn annotated(value: Option<&str>) -> Value {
    json!({ "metadata": { "annotations": { REDIRECTION: value } } })
}

fn event(name: &str, controller: &str, instance: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": { "name": name, "namespace": "default" },
        "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Warning", "reason": "NotCaptured", "action": "Capture",
        "reportingController": controller, "reportingInstance": instance,
        "regarding": { "kind": "Pod", "namespace": "default", "name": "own", "apiVersion": "v1" },
    })
}

const OWN: Option<&str> = Some("its own node only");
const NOTHING: Option<&str> = Some("nothing of a pod but an annotation");
const OTHER: Option<&str> = Some("no annotation of a pod but ambient.istio.io/redirection");
const NAMED: Option<&str> = Some("in its own name only");
const NO_MORE: Option<&str> = Some("nothing of its node but taints");
const NO_TAINT: Option<&str> = Some("may remove the taint millstream.dev/agent-not-ready, and no other");

fn cases() -> Vec<Case> {
    let taint = |key: &str| json!({ "key": key, "effect": "NoSchedule" });
    let dedicated = json!({ "key": "dedicated", "value": "db", "effect": "NoSchedule" });
    let taints = |taints: &[&Value]| json!({ "spec": { "taints": taints } });
    let ours = taint(TAINT);
    let again = json!({ "series": { "count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z" } });
    let (pod, own) = (Request::Pod, Request::Pod("own"));
    vec![
        case("the annotation", own, annotated(Some("enabled")), None),
        case("another value", own, annotated(Some("pending")), None),
        case("its end", own, annotated(None), None),
        case("of a pod elsewhere", pod("foreign"), annotated(Some("enabled")), OWN),
        case("another annotation", own, json!({"metadata": {"annotations": {"mine": "x"}}}), OTHER),
        case("a change of another", own, json!({"metadata": {"annotations": {"other": "y"}}}), OTHER),
        case("the end of another", own, json!({"metadata": {"annotations": {"other": null}}}), OTHER),
        case("a label", own, json!({"metadata": {"labels": {"app": "db"}}}), NOTHING),
        case("a finalizer", own, json!({"metadata": {"finalizers": ["a.b/c"]}}), NOTHING),
        case("the phase", own, json!({"status": {"phase": "Failed"}}), NOTHING),
        case(
            "an address",
            own,
            json!({"status": {"podIP": "192.0.2.1", "podIPs": [{"ip": "192.0.2.1"}]}}),
            NOTHING,
        ),
        case("an Event", Request::NewEvent, event("ok", AGENT, "a"), None),
        case("in a node's name", Request::NewEvent, event("b", AGENT, "b"), NAMED),
        case("in the kubelet's", Request::NewEvent, event("k", "kubelet", "a"), NAMED),
        case("its own once more", Request::Event("ok"), again.clone(), None),
        case("another's once more", Request::Event("theirs"), again, NAMED),
        case("another node's taint", Request::Node("b"), taints(&[]), OWN),
        case("a taint of others", Request::Node("a"), taints(&[&ours]), NO_TAINT),
        case("a new taint", Request::Node("a"), taints(&[&ours, &dedicated, &taint("mine")]), NO_TAINT),
        case(
            "a label of the node",
            Request::Node("a"),
            json!({"metadata": {"labels": {"zone": "y"}}}),
            NO_MORE,
        ),
        case(
            "an annotation of it",
            Request::Node("a"),
            json!({"metadata": {"annotations": {"x": "y"}}}),
            NO_MORE,
        ),
        case("a cordon", Request::Node("a"), json!({"spec": {"unschedulable": true}}), NO_MORE),
        case("our taint", Request::Node("a"), taints(&[&dedicated]), None),
    ]
}

/// The answer to a request: code and text.
fn ask(cluster: &Cluster, token: &str, request: Request, body: &Value) -> (String, String) {
    let config: Value = serde_json::from_slice(&fs::read(cluster.kubeconfig()).unwrap()).unwrap();
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    let ca = config["clusters"][0]["cluster"]["certificate-authority"].as_str().unwrap();
    let events = "apis/events.k8s.io/v1/namespaces/default/events";
    let (method, path, kind) = match request {
        Request::Pod(name) => {
            ("PATCH", format!("api/v1/namespaces/default/pods/{name}/status"), "merge-patch+json")
        }
        Request::Node(name) => ("PATCH", format!("api/v1/nodes/{name}"), "merge-patch+json"),
        Request::NewEvent => ("POST", events.to_owned(), "json"),
        Request::Event(name) => ("PATCH", format!("{events}/{name}"), "merge-patch+json"),
    };
    let args = [
        "--silent",
        "--show-error",
        "--cacert",
        ca,
        "--request",
        method,
        "--header",
        &format!("Authorization: Bearer {token}"),
        "--header",
        &format!("Content-Type: application/{kind}"),
        "--data",
        &body.to_string(),
        "--write-out",
        "\n%{http_code}",
        &format!("{server}/{path}"),
    ];
    let answer = run(cluster, Path::new("curl"), cluster.kubeconfig(), &args);
    let (text, code) = answer.stdout().unwrap().rsplit_once('\n').unwrap();
    (code.to_owned(), text.to_owned())
}

fn token(cluster: &Cluster, of: &[&str]) -> String {
    let args = ["create", "token", "millstream", IN_NAMESPACE].iter().chain(of).copied();
    let token = cluster.kubectl(&args.collect::<Vec<_>>()).unwrap();
    token.stdout().unwrap().trim().to_owned()
}

#[test]
fn an_agent_writes_only_what_it_has_to_and_only_of_its_node() {
    let cluster = Cluster::api("admission").unwrap();
    cluster.wait(&["--for=create", "serviceaccount/millstream", IN_NAMESPACE]).unwrap();
    cluster.apply(&render(&["startupTaint=true"])).unwrap();
    cluster.apply(OBJECTS).unwrap();
    cluster.apply(&event("theirs", "kubelet", "a").to_string()).unwrap();
    let bound = token(&cluster, &["--bound-object-kind=Pod", "--bound-object-name=agent"]);

    // A policy holds a moment after it was made, and nothing tells when.
    let deadline = Instant::now() + PATIENCE;
    for probe in [Request::Pod("foreign"), Request::Node("b"), Request::NewEvent] {
        let body = if matches!(probe, Request::NewEvent) { event("probe", AGENT, "b") } else { json!({}) };
        while ask(&cluster, &bound, probe, &body).0 != "422" {
            assert!(Instant::now() < deadline, "{probe:?}: {:?}", ask(&cluster, &bound, probe, &body));
            thread::sleep(Duration::from_millis(100));
        }
    }

    for Case { name, request, body, refused } in cases() {
        let (code, text) = ask(&cluster, &bound, request, &body);
        match refused {
            None => assert!(code.starts_with('2'), "{name}: {code} {text}"),
            Some(message) => {
                assert_eq!(code, "422", "{name}: {text}");
                assert!(text.contains(message), "{name}: {text}");
            }
        }
    }

    let unbound = token(&cluster, &[]);
    let (code, text) = ask(&cluster, &unbound, Request::Pod("own"), &annotated(Some("enabled")));
    assert_eq!(code, "422", "a token of no pod is of no node: {text}");

    // Others may do what their own rights say.
    let args = ["patch", "pod", "own", "--subresource=status", "--type=merge", "--patch"];
    let args = args.into_iter().chain(["{\"metadata\":{\"labels\":{\"by\":\"admin\"}}}"]);
    cluster.kubectl(&args.collect::<Vec<_>>()).unwrap().stdout().unwrap();

    let policies = ["get", "validatingadmissionpolicies", "--output=json"];
    let policies = cluster.kubectl(&policies).unwrap().json().unwrap();
    let policies = policies["items"].as_array().unwrap();
    assert_eq!(policies.len(), 3);
    for policy in policies {
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        assert!(warnings.is_null(), "{}: {warnings:#}", policy["metadata"]["name"]);
    }
}
