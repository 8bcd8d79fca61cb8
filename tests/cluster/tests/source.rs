//! The agent's source on a real API server.

use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cluster::Cluster;
use control::{FileSource, InForce, IndexConfig, SourceReport};
use harness::{Agent, AgentOptions, PATIENCE, Post};
use model::{ObjectName, Pod, Snapshot};
use serde_json::{Value, json};
use tokio::{
    runtime::Builder,
    sync::{mpsc, watch},
    time::timeout,
};

mod relay;
pub(crate) mod watched;

use relay::{Relay, Way};
use watched::{Watched, kubeconfig, kubeconfig_of};

const KINDS: &str = "namespaces,nodes,pods,services,endpointslices,networkpolicies";

/// Namespaces, each with the service account without which no pod is taken.
fn namespaces(cluster: &Cluster, manifests: &[(&str, &str)]) {
    for (name, rest) in manifests {
        cluster
            .apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, {rest}}}}}"))
            .unwrap();
    }
    for (name, _) in manifests {
        cluster.wait(&["--for=create", "serviceaccount/default", "--namespace", name]).unwrap();
    }
}

fn pod(name: &str, metadata: &str, spec: &str) -> String {
    format!(
        "
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, namespace: shop, {metadata} }}
spec:
  nodeName: a
  automountServiceAccountToken: false
  containers: [{{ name: c, image: none, env: [{{ name: SECRET, value: hush }}] }}]
  {spec}
"
    )
}

/// What a kubelet would write.
fn set_status(cluster: &Cluster, pod: &str, status: &Value) {
    let patch = json!({ "status": status }).to_string();
    let args =
        ["patch", "pod", pod, "--namespace=shop", "--subresource=status", "--type=merge", "--patch", &patch];
    cluster.kubectl(&args).unwrap().stdout().unwrap();
}

fn running_at(ips: &[&str]) -> Value {
    let all: Vec<_> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
    json!({ "phase": "Running", "podIP": ips[0], "podIPs": all })
}

fn delete(cluster: &Cluster, args: &[&str]) {
    let args: Vec<_> = ["delete", "--namespace=shop"].iter().chain(args).copied().collect();
    cluster.kubectl(&args).unwrap().stdout().unwrap();
}

/// No kubelet will ever confirm the end of these.
fn delete_pod(cluster: &Cluster, name: &str) {
    delete(cluster, &["pod", name, "--grace-period=0", "--force"]);
}

fn find(snapshot: &Snapshot, name: &str) -> Option<Arc<Pod>> {
    snapshot.pod_by_name(&ObjectName::new("shop", name)).cloned()
}

fn service_exists(snapshot: &Snapshot, name: &str) -> bool {
    snapshot.service(&ObjectName::new("shop", name)).is_some()
}

/// All objects of the cluster as manifests in a folder, and what the other source makes of them.
fn through_files(cluster: &Cluster, dir: &Path) -> Arc<Snapshot> {
    let all = cluster.kubectl(&["get", KINDS, "--all-namespaces", "--output=json"]).unwrap();
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("all.json"), all.stdout().unwrap()).unwrap();
    let (publish, mut snapshots) = watch::channel(Arc::<Snapshot>::default());
    let (report, _reports) = watch::channel(SourceReport::default());
    let (_reload, reload) = mpsc::channel(1);
    let source = FileSource { dir: dir.to_owned(), config: IndexConfig::default() };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let running = tokio::spawn(source.run(publish, report, reload));
        let read = timeout(PATIENCE, snapshots.wait_for(|s| s.version > 0)).await.unwrap().unwrap().clone();
        running.abort();
        read
    })
}

const SERVICES: &str = "
apiVersion: v1
kind: Node
metadata: { name: a }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  ipFamilyPolicy: RequireDualStack
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: 8080 }, { name: dns, port: 53, protocol: UDP }]
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: plain }
spec:
  sessionAffinity: ClientIP
  internalTrafficPolicy: Local
  selector: { app: web }
  ports: [{ port: 80 }]
---
apiVersion: v1
kind: Service
metadata: { name: headless, namespace: shop }
spec: { clusterIP: None, selector: { app: web }, ports: [{ name: http, port: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: portless, namespace: shop }
spec: { clusterIP: None, selector: { app: web } }
---
apiVersion: v1
kind: Service
metadata: { name: elsewhere, namespace: shop }
spec: { type: ExternalName, externalName: example.com }
---
apiVersion: v1
kind: Service
metadata: { name: manual, namespace: shop }
spec: { ipFamilyPolicy: RequireDualStack, ports: [{ name: db, port: 5432 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: manual-6, namespace: shop, labels: { kubernetes.io/service-name: manual } }
addressType: IPv6
ports: [{ name: db, port: 5432 }]
endpoints:
- { addresses: ['2001:db8::1'], targetRef: { kind: Pod, name: nobody, namespace: shop, uid: unknown } }
- { addresses: ['2001:db8::2'], conditions: { ready: false }, nodeName: z }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: manual-name, namespace: shop, labels: { kubernetes.io/service-name: manual } }
addressType: FQDN
ports: [{ name: db, port: 5432 }]
endpoints: [{ addresses: [db.example.com] }]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: orphan, namespace: shop }
addressType: IPv4
ports: []
endpoints: [{ addresses: [192.0.2.77] }]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: shop }
spec: { podSelector: { matchLabels: { app: web } }, policyTypes: [Ingress] }
";

/// As many as one slice may have.
fn thousand_addresses() -> String {
    let mut slice = "
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: manual-4, namespace: shop, labels: { kubernetes.io/service-name: manual } }
addressType: IPv4
ports: [{ name: db, port: 5432 }]
endpoints:
"
    .to_owned();
    for n in 0..1000 {
        writeln!(slice, "- {{ addresses: [10.9.{}.{}] }}", n / 250, n % 250 + 1).unwrap();
    }
    slice
}

#[test]
fn both_sources_make_the_same_of_the_same_objects() {
    let cluster = Cluster::api("same").unwrap();
    namespaces(
        &cluster,
        &[
            (
                "shop",
                "labels: {istio.io/dataplane-mode: ambient}, annotations: {millstream.dev/when-agent-down: open}",
            ),
            ("plain", "annotations: {millstream.dev/existing-connections: reset}"),
        ],
    );
    let pods = [
        ("web-1", "labels: {app: web}", "", Some(running_at(&["10.1.0.2", "fd00:1::2"]))),
        ("web-2", "labels: {app: web, istio.io/dataplane-mode: none}", "", Some(running_at(&["10.1.0.3"]))),
        ("young", "labels: {app: web}", "", None),
        ("host-1", "", "hostNetwork: true", Some(running_at(&["172.18.0.2"]))),
        ("host-2", "", "hostNetwork: true", Some(running_at(&["172.18.0.2"]))),
        (
            "done",
            "",
            "",
            Some(json!({"phase": "Succeeded", "podIP": "10.1.0.2", "podIPs": [{"ip": "10.1.0.2"}]})),
        ),
        (
            "odd",
            "annotations: {millstream.dev/existing-connections: rset}",
            "",
            Some(running_at(&["10.1.0.9"])),
        ),
    ];
    let manifests: String = pods.iter().map(|(name, metadata, spec, _)| pod(name, metadata, spec)).collect();
    cluster.apply(&(SERVICES.to_owned() + &thousand_addresses() + &manifests)).unwrap();
    for (name, _, _, status) in &pods {
        if let Some(status) = status {
            set_status(&cluster, name, status);
        }
    }

    let mut watched = Watched::start(&cluster);
    watched.wait("all objects", |snapshot| {
        let manual = snapshot.service(&ObjectName::new("shop", "manual"));
        let done = pods.iter().all(|(name, _, _, status)| {
            find(snapshot, name).is_some_and(|pod| pod.ips.is_empty() == status.is_none())
        });
        done && manual.is_some_and(|manual| manual.ports[0].endpoints.len() == 1002)
    });
    // The controllers are still at work: what both saw at one time must come to be the same.
    let deadline = Instant::now() + PATIENCE;
    let files = cluster.file("manifests");
    while !through_files(&cluster, &files).same_content(&watched.snapshot()) {
        assert!(
            Instant::now() < deadline,
            "{:#?}\n{:#?}",
            through_files(&cluster, &files),
            watched.snapshot()
        );
    }
    let snapshot = watched.snapshot();
    let web = snapshot.service(&ObjectName::new("shop", "web")).unwrap().clone();
    assert_eq!((web.vips.len(), web.ports.len()), (2, 1), "{web:?}");
    assert_eq!(web.ports[0].endpoints.len(), 3, "the slices of the controller: {web:?}");
    assert!(find(&snapshot, "web-1").unwrap().policed_by.is_some());
    assert_eq!(
        snapshot.headless_service("10.1.0.2:8080".parse().unwrap()).unwrap().name.name.as_ref(),
        "headless"
    );
    let refused: Vec<_> = watched.report().refusals.iter().map(ToString::to_string).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].starts_with("Pod shop/odd: metadata.annotations"), "{refused:?}");

    // From here on change by change.
    watched.wait_well();
    set_status(&cluster, "web-1", &running_at(&["10.1.0.4"]));
    let moved = watched.wait("another address", |snapshot| {
        find(snapshot, "web-1").is_some_and(|pod| pod.ips == ["10.1.0.4".parse::<IpAddr>().unwrap()])
    });
    assert!(moved.pod_by_ip("10.1.0.2".parse().unwrap()).is_none(), "it is that of a pod that has finished");
    delete(&cluster, &["service", "manual"]);
    delete_pod(&cluster, "web-2");
    watched.wait("gone", |snapshot| find(snapshot, "web-2").is_none() && !service_exists(snapshot, "manual"));
    cluster.kubectl(&["label", "namespace", "shop", "istio.io/dataplane-mode-"]).unwrap().stdout().unwrap();
    watched.wait("no pod enrolled", |snapshot| snapshot.pods().iter().all(|pod| !pod.is_enrolled()));
}

#[test]
fn an_address_is_that_of_one_pod() {
    let cluster = Cluster::api("address").unwrap();
    namespaces(&cluster, &[("shop", "labels: {istio.io/dataplane-mode: ambient}")]);
    let netns = "annotations: {millstream.dev/netns: /proc/1/ns/net}";
    let manifests = pod("first", netns, "") + &pod("second", "", "");
    cluster.apply(&("{apiVersion: v1, kind: Node, metadata: {name: a}}".to_owned() + &manifests)).unwrap();
    let mut watched = Watched::start(&cluster);
    watched.wait_well();
    let both = watched.wait("both", |s| find(s, "first").is_some() && find(s, "second").is_some());
    assert!(!find(&both, "first").unwrap().is_enrolled(), "it has no address");
    assert_eq!(
        find(&both, "first").unwrap().netns,
        None,
        "who writes a pod does not choose a path on the node"
    );

    set_status(&cluster, "first", &running_at(&["10.1.0.2"]));
    watched.wait("enrolled", |s| find(s, "first").is_some_and(|pod| pod.is_enrolled()));
    set_status(&cluster, "second", &running_at(&["10.1.0.2"]));
    let report = watched.wait_report("a refusal", |report| !report.refusals.is_empty());
    assert_eq!(
        report.refusals[0].to_string(),
        "Pod shop/second: status.podIPs: address 10.1.0.2 is already that of Pod shop/first"
    );
    assert!(!find(&watched.snapshot(), "second").unwrap().is_enrolled());
    set_status(&cluster, "first", &json!({"phase": "Failed"}));
    watched.wait("the second has it", |s| {
        find(s, "second").is_some_and(|pod| pod.is_enrolled())
            && s.pod_by_ip("10.1.0.2".parse().unwrap()).is_some_and(|pod| pod.name.name.as_ref() == "second")
    });
    watched.wait_report("no refusal", |report| report.refusals.is_empty());
}

#[test]
fn an_api_server_that_goes_away_is_followed_again() {
    let cluster = Cluster::api("away").unwrap();
    let slice = "{apiVersion: v1, kind: Service, metadata: {name: stays, namespace: shop}, spec: {ports: [{port: 1}]}}";
    let service = |name: &str| slice.replace("stays", name);
    namespaces(&cluster, &[("shop", "")]);
    cluster.apply(&(service("stays") + "\n---\n" + &service("goes"))).unwrap();
    let server: SocketAddr = address(&cluster);
    let relay = Relay::start(&cluster, server, Way::Open);
    let through = json!({
        "server": format!("https://{}", relay.address),
        "tls-server-name": server.ip().to_string(),
    });
    let config = kubeconfig(&cluster, "relay.kubeconfig", &through, &json!({}));
    let mut watched = Watched::with(&cluster, &config);
    watched.wait("both services", |s| service_exists(s, "stays") && service_exists(s, "goes"));
    watched.wait_well();

    // No snapshot may ever lack what was there all the time, nor anything be published while nobody answers.
    let missing = Arc::new(AtomicUsize::new(0));
    let seen = missing.clone();
    let observer = watched.observe(move |snapshot| {
        seen.fetch_add(usize::from(!service_exists(snapshot, "stays")), Ordering::Relaxed);
    });

    for (name, restart) in [("the same API server", false), ("one that has forgotten the past", true)] {
        let before = watched.snapshot().version;
        relay.set(Way::Cut);
        let kinds = watched.wait_report("all watches fail", |report| {
            report.troubles.iter().filter(|trouble| trouble.error.is_some()).count() >= 6
        });
        assert!(
            kinds.troubles.iter().all(|trouble| trouble.in_force == InForce::LastKnown),
            "{name}: {kinds:?}"
        );
        delete(&cluster, &["service", "goes"]);
        cluster.apply(&service("comes")).unwrap();
        if restart {
            cluster.stop_api_server().unwrap();
            cluster.start_api_server().unwrap();
        }
        assert_eq!(watched.snapshot().version, before, "{name}");
        relay.set(Way::Open);
        watched.wait(name, |s| !service_exists(s, "goes") && service_exists(s, "comes"));
        watched.wait_well();
        delete(&cluster, &["service", "comes"]);
        cluster.apply(&service("goes")).unwrap();
        watched.wait(name, |s| service_exists(s, "goes") && !service_exists(s, "comes"));
    }

    relay.set(Way::Cut);
    watched.wait_report("all watches fail", |report| report.troubles.len() >= 6);
    relay.set(Way::Deaf);
    let silent = watched.wait_report("one that does not answer", |report| {
        report.troubles.iter().any(|t| t.error.as_deref().is_some_and(|e| e.contains("has not answered")))
    });
    assert!(silent.troubles.iter().all(|trouble| trouble.in_force == InForce::LastKnown));
    relay.set(Way::Open);
    cluster.apply(&service("last")).unwrap();
    watched.wait("the last", |s| service_exists(s, "last"));
    drop(watched);
    observer.join().unwrap();
    assert_eq!(missing.load(Ordering::Relaxed), 0, "a known object was missing for a moment");
}

fn address(cluster: &Cluster) -> SocketAddr {
    let config: Value = serde_json::from_slice(&std::fs::read(cluster.kubeconfig()).unwrap()).unwrap();
    let server = config["clusters"][0]["cluster"]["server"].as_str().unwrap();
    server.strip_prefix("https://").unwrap().parse().unwrap()
}

/// The rules of a role that lacks one verb on one resource.
fn role(user: &str, missing: (&str, &str)) -> String {
    let resources = [
        ("", "namespaces"),
        ("", "nodes"),
        ("", "pods"),
        ("", "services"),
        ("discovery.k8s.io", "endpointslices"),
        ("networking.k8s.io", "networkpolicies"),
    ];
    let rules: Vec<_> = resources
        .iter()
        .map(|(group, resource)| {
            let verbs = ["list", "watch"].into_iter().filter(|verb| (*resource, *verb) != missing);
            json!({"apiGroups": [group], "resources": [resource], "verbs": verbs.collect::<Vec<_>>()})
        })
        .collect();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": user}, "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
    });
    format!("{role}\n---\n{binding}")
}

#[test]
fn a_verb_that_is_not_permitted_is_named() {
    let cluster = Cluster::api("verbs").unwrap();
    for (user, resource, verb, watch, needs) in [
        ("u1", "namespaces", "list", "Namespaces", "namespaces"),
        ("u2", "nodes", "watch", "Nodes", "nodes"),
        ("u3", "pods", "list", "Pods", "pods"),
        ("u4", "services", "watch", "Services", "services"),
        ("u5", "endpointslices", "watch", "EndpointSlices", "endpointslices.discovery.k8s.io"),
        ("u6", "networkpolicies", "list", "NetworkPolicies", "networkpolicies.networking.k8s.io"),
    ] {
        cluster.apply(&role(user, (resource, verb))).unwrap();
        let mut watched = Watched::with(&cluster, &kubeconfig_of(&cluster, user));
        let report = watched.wait_report(resource, |report| {
            // Until its role is known, all is forbidden.
            matches!(&report.troubles[..], [trouble] if trouble.error.is_some())
        });
        let trouble = report.troubles[0].to_string();
        for part in [
            format!("cannot watch {watch} "),
            format!("cannot {verb} resource \"{resource}\""),
            format!("the agent's ClusterRole needs list and watch on {needs}"),
            "the agent is not ready".to_owned(),
        ] {
            assert!(trouble.contains(&part), "{resource}: {trouble}");
        }
        assert_eq!(watched.snapshot().version, 0, "{resource}: nothing is concluded from what is missing");
        cluster.apply(&role(user, ("", ""))).unwrap();
        watched.wait_well();
    }
}

const CRD: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: ciliumnetworkpolicies.cilium.io }
spec:
  group: cilium.io
  scope: Namespaced
  names: { kind: CiliumNetworkPolicy, plural: ciliumnetworkpolicies }
  versions:
  - name: v2
    served: true
    storage: true
    schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
";

#[test]
fn kinds_of_policies_are_followed_where_they_are_served() {
    let cluster = Cluster::api("policies").unwrap();
    namespaces(&cluster, &[("shop", "")]);
    cluster
        .apply(&("{apiVersion: v1, kind: Node, metadata: {name: a}}".to_owned() + &pod("web", "", "")))
        .unwrap();
    let policed = |s: &Snapshot| find(s, "web").and_then(|pod| pod.policed_by.clone());
    let mut watched = Watched::start(&cluster);
    watched.wait_well();
    watched.wait("no policy", |s| find(s, "web").is_some() && policed(s).is_none());

    cluster.apply(CRD).unwrap();
    cluster.wait(&["--for=condition=Established", "crd/ciliumnetworkpolicies.cilium.io"]).unwrap();
    let policy = "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: all, namespace: shop}, \
                  spec: {endpointSelector: {}}}";
    cluster.apply(policy).unwrap();
    reload_until(&mut watched, "a policy", |s| policed(s).as_deref() == Some("CiliumNetworkPolicy shop/all"));

    // One that makes no sense holds all the same, and is named.
    let broken = policy.replace("{endpointSelector: {}}", "{endpointSelector: 7}");
    cluster.apply(&broken).unwrap();
    let report = watched.wait_report("a refusal", |report| !report.refusals.is_empty());
    assert!(report.refusals[0].to_string().starts_with("CiliumNetworkPolicy shop/all: "), "{report:?}");
    assert!(policed(&watched.snapshot()).is_some());

    delete(&cluster, &["crd", "ciliumnetworkpolicies.cilium.io"]);
    reload_until(&mut watched, "no policy", |s| policed(s).is_none());
    let well = |report: &SourceReport| report.troubles.is_empty() && report.refusals.is_empty();
    let deadline = Instant::now() + PATIENCE;
    while !well(&watched.report()) {
        assert!(Instant::now() < deadline, "{:?}", watched.report());
        watched.reload();
        thread::sleep(Duration::from_millis(100));
    }
}

/// As Istio's, in two versions: the one that is stored is not the one that is preferred.
const SERVICE_ENTRY_CRD: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: serviceentries.networking.istio.io }
spec:
  group: networking.istio.io
  scope: Namespaced
  names: { kind: ServiceEntry, plural: serviceentries }
  versions:
  - name: v1
    served: true
    storage: false
    schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
  - name: v1beta1
    served: true
    storage: true
    schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
";

#[test]
fn service_entries_are_followed_where_they_are_served() {
    let cluster = Cluster::api("entries").unwrap();
    namespaces(&cluster, &[("shop", "")]);
    let mut watched = Watched::start(&cluster);
    watched.wait_well();

    cluster.apply(SERVICE_ENTRY_CRD).unwrap();
    cluster.wait(&["--for=condition=Established", "crd/serviceentries.networking.istio.io"]).unwrap();
    let entry = |version: &str, spec: &str| {
        format!(
            "{{apiVersion: networking.istio.io/{version}, kind: ServiceEntry, metadata: {{name: www, namespace: shop}}, \
             spec: {{{spec}}}, status: {{addresses: [{{value: 240.240.0.9, host: www.example.com}}]}}}}"
        )
    };
    let sound = "hosts: [www.example.com], ports: [{number: 443, name: tls}], resolution: DNS";
    cluster.apply(&entry("v1beta1", sound)).unwrap();
    let host = ObjectName::new("shop", "www.example.com");
    reload_until(&mut watched, "a host", |s| {
        s.service(&host)
            .is_some_and(|service| service.allocated == ["240.240.0.9".parse::<IpAddr>().unwrap()])
    });

    // What makes no sense is refused, and the last good version stays.
    cluster.apply(&entry("v1", "hosts: [7]")).unwrap();
    let report = watched.wait_report("a refusal", |report| !report.refusals.is_empty());
    let refusal = report.refusals[0].to_string();
    assert!(refusal.starts_with("ServiceEntry shop/www: spec.hosts[0]: invalid type"), "{refusal}");
    assert!(watched.snapshot().service(&host).is_some());
    cluster.apply(&entry("v1", sound)).unwrap();
    watched.wait_report("mended", |report| report.refusals.is_empty());

    delete(&cluster, &["crd", "serviceentries.networking.istio.io"]);
    reload_until(&mut watched, "no host", |s| s.service(&host).is_none());
}

/// The API server takes its time to serve what it was told of.
fn reload_until(watched: &mut Watched, what: &str, is_true: impl Fn(&Snapshot) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true(&watched.snapshot()) {
        assert!(Instant::now() < deadline, "never: {what}; {:?}", watched.report());
        watched.reload();
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_agent_says_what_it_does_not_see() {
    let cluster = Cluster::api("blind").unwrap();
    cluster.apply(&role("blind", ("pods", "watch"))).unwrap();
    let mut agent = Agent::new(
        Post {
            place: cluster.control().with_cgroup("agent").unwrap(),
            node: format!("{}-control", cluster.id()),
            source: format!("kubernetes:{}", kubeconfig_of(&cluster, "blind").display()),
            run_dir: cluster.file("run"),
            log: cluster.file("agent.log"),
        },
        AgentOptions::default(),
    );
    agent.launch_unready().unwrap();
    let status = |agent: &Agent| {
        agent.cli(&["status"]).unwrap().any_stdout().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let said = |agent: &Agent, part: &str| {
        let deadline = Instant::now() + PATIENCE;
        while !status(agent).contains(part) {
            assert!(Instant::now() < deadline, "never {part:?}: {}", status(agent));
            thread::sleep(Duration::from_millis(100));
        }
    };
    said(&agent, "cannot watch resource \"pods\"");
    let waited = agent.cli(&["wait", "ready", "--timeout", "50ms"]).unwrap();
    assert_eq!(waited.code(), Some(1));
    assert!(waited.any_stdout().contains("not ready: cannot watch Pods"), "{}", waited.any_stdout());

    cluster.apply(&role("blind", ("", ""))).unwrap();
    agent.wait(&["ready"]).unwrap();
    let seen = agent.json(&["status"]).unwrap();
    assert_eq!((&seen["ready"], &seen["problems"]), (&json!(true), &json!([])), "{seen}");
    assert_eq!(seen["source"], format!("kubernetes:{}", cluster.file("blind.kubeconfig").display()));

    cluster.stop_api_server().unwrap();
    said(&agent, "; what was last known of them stays in force");
    let failing = agent.cli(&["status", "--output", "json"]).unwrap();
    assert_eq!(failing.code(), Some(1));
    let failing: Value = serde_json::from_str(failing.any_stdout()).unwrap();
    assert_eq!(
        (&failing["ready"], &failing["troubles"][0]["in_force"]),
        (&json!(true), &json!("last-known"))
    );
    agent.kill().unwrap();
    let down = agent.cli(&["status"]).unwrap();
    assert_eq!(down.code(), Some(1));
    for part in ["the agent is down", "nothing is known of the cluster: cannot watch"] {
        let status = down.any_stdout().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(status.contains(part), "{part:?}: {status}");
    }
    agent.cli(&["pods"]).unwrap().stdout().unwrap();
    agent.cli(&["cleanup"]).unwrap().stdout().unwrap();
}
