//! Between two pods of one node: direct, or over the wire where network policies act.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
};

use harness::{Pod, Server, Service};
use serde_json::Value;

use crate::{
    mesh::{Mesh, NAMESPACE, dial, echo},
    road::connect,
    steering::wait_for,
};

/// Where the server echoes, and the service's port too.
const PORT: u16 = 7;
const POLICY_FILE: &str = "policy.yaml";
const DENY_ALL: &str = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, \
     metadata: {name: deny-all, namespace: shop}, spec: {podSelector: {}}}";

/// Two captured pods of one node, and a service of one of them.
struct Scene {
    client: Pod,
    server: Pod,
    service: Service,
    echo: Server,
    // Last: it takes down what the others are in.
    mesh: Mesh,
}

// === impl Scene ===

impl Scene {
    fn new(name: &str, same_node: &str) -> Self {
        // Who is dropped on the wire waits no longer than that.
        let config = format!("proxy: {{connect-timeout: 2s}}\nsame-node: {same_node}\n");
        let mesh = Mesh::configured(name, &config);
        let pod = |name| {
            let pod = mesh.node.pod(NAMESPACE, name).label("app", name).start().unwrap();
            mesh.agent.wait_captured(&pod).unwrap();
            pod
        };
        let (client, server) = (pod("client"), pod("server"));
        let builder = mesh.lab.service(NAMESPACE, "echo").port("echo", PORT, PORT);
        let service = builder.endpoints(&[&server]).apply().unwrap();
        let echo = echo(&server, PORT);
        let scene = Self { client, server, service, echo, mesh };
        wait_for(|| scene.evidence(scene.service.v4_addr(PORT)).is_some());
        scene
    }

    /// Each way to call the server: its own addresses and those of the service.
    fn destinations(&self) -> [SocketAddr; 4] {
        [
            (self.server.v4(), PORT).into(),
            (self.server.v6(), PORT).into(),
            self.service.v4_addr(PORT),
            self.service.v6_addr(PORT),
        ]
    }

    /// A rule on the node, as a CNI makes them for a policy: nothing passes from the client to the server.
    fn wall_off(&self) {
        let (client, server) = (&self.client, &self.server);
        let drop = "counter name dropped drop";
        let rules = [
            "add table bridge wall".to_owned(),
            "add counter bridge wall dropped".to_owned(),
            "add chain bridge wall forward { type filter hook forward priority 0; }".to_owned(),
            format!(
                "add rule bridge wall forward ip saddr {} ip daddr {} ip protocol tcp {drop}",
                client.v4(),
                server.v4()
            ),
            format!(
                "add rule bridge wall forward ip6 saddr {} ip6 daddr {} ip6 nexthdr tcp {drop}",
                client.v6(),
                server.v6()
            ),
        ];
        let rules = rules.join("; ");
        self.mesh.node.run(&["nft", &rules]).unwrap().stdout().unwrap();
    }

    /// How many packets met the wall.
    fn dropped(&self) -> u64 {
        let said = self.mesh.node.run(&["nft", "--json", "list", "counter", "bridge", "wall", "dropped"]);
        let said: Value = said.unwrap().json().unwrap();
        let objects = said["nftables"].as_array().unwrap();
        let counter = objects.iter().find(|object| object["counter"].is_object()).unwrap();
        counter["counter"]["packets"].as_u64().unwrap()
    }

    /// Applies a policy, or with `None` takes it away, and waits until `why` tells of it.
    fn police(&self, policy: Option<&str>, told: &str) {
        match policy {
            Some(policy) => self.mesh.lab.write_manifest(POLICY_FILE, policy).unwrap(),
            None => self.mesh.lab.remove_manifest(POLICY_FILE).unwrap(),
        }
        for destination in self.destinations() {
            wait_for(|| self.evidence(destination).is_some_and(|evidence| evidence == told));
        }
    }

    /// What `why` gives for the way of a connection to there.
    fn evidence(&self, destination: SocketAddr) -> Option<String> {
        let why = self.mesh.ask(&["why", "shop/client", &destination.to_string()]);
        let steps = why["steps"].as_array().unwrap();
        let select = steps.iter().find(|step| step["stage"] == "select")?;
        Some(select["evidence"].as_str().unwrap().to_owned())
    }

    /// Calls every destination at once; whether the server answers, which must be the same for all.
    #[track_caller]
    fn reaches(&self, when: &str) -> bool {
        let calls = self.destinations().map(|destination| {
            // Accepted by the proxy, whatever becomes of it.
            let mut stream = connect(&self.client, destination).unwrap();
            let sent = stream.write_all(b"x");
            (destination, stream, sent)
        });
        let answers = calls.map(|(destination, mut stream, sent)| {
            match sent.and_then(|()| stream.read_exact(&mut [0])) {
                Ok(()) => true,
                Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
                Err(e) => panic!("{when}: {destination}: {e}"),
            }
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{when}: {answers:?}");
        answers[0]
    }

    /// The live connection that a client has at this address.
    fn row(&self, client: SocketAddr) -> Value {
        let rows = self.mesh.agent.json(&["connections"]).unwrap();
        let rows = rows.as_array().unwrap();
        rows.iter().find(|row| row["client"] == client.to_string()).unwrap().clone()
    }

    /// The way of one real connection to each address of the server.
    #[track_caller]
    fn via(&self, when: &str) -> String {
        let ways = self.destinations().map(|destination| {
            let (mut client, local) = dial(&self.client, destination, &[]);
            client.ping("hello").unwrap();
            self.row(local)["via"].as_str().unwrap().to_owned()
        });
        assert!(ways.iter().all(|way| *way == ways[0]), "{when}: {ways:?}");
        ways[0].clone()
    }
}

#[test]
fn what_a_policy_drops_on_the_node_stays_dropped() {
    const DIRECT: &str = "shop/server, delivered in its namespace";
    let scene = Scene::new("policywall", "auto");
    scene.wall_off();
    assert!(scene.reaches("no policy"));
    assert_eq!(scene.dropped(), 0, "without a policy nothing crosses the node");
    let (mut older, _) = dial(&scene.client, scene.service.v4_addr(PORT), &[]);

    scene.police(
        Some(DENY_ALL),
        "shop/server, over the wire: NetworkPolicy shop/deny-all may select shop/client",
    );
    assert!(!scene.reaches("with a policy"));
    let seen = scene.dropped();
    assert!(4 <= seen, "{seen} packets met the wall");
    older.ping("a connection that was there before goes on").unwrap();

    scene.police(None, DIRECT);
    assert!(scene.reaches("the policy is gone"));
    assert_eq!(scene.dropped(), seen);

    drop(older);
    let lost = |record: &&Value| record["via"] == "wire" && record["reason"] == "connect-timeout";
    wait_for(|| scene.mesh.records().iter().filter(lost).count() == 4);
}

#[test]
fn a_setting_decides_for_all() {
    let wire = Scene::new("wirealways", "wire");
    wire.wall_off();
    assert_eq!(wire.evidence(wire.destinations()[0]).unwrap(), "shop/server, over the wire: same-node: wire");
    assert!(!wire.reaches("wire"));

    let direct = Scene::new("directalways", "direct");
    direct.wall_off();
    direct.police(
        Some(DENY_ALL),
        "shop/server, delivered in its namespace: same-node: direct, \
         though NetworkPolicy shop/deny-all may select shop/client",
    );
    assert!(direct.reaches("direct"));
    assert_eq!(direct.dropped(), 0);
}

#[test]
fn any_kind_of_policy_over_either_pod_leads_over_the_wire() {
    const BY: [(&str, &str, &str, &str); 12] = [
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "podSelector: {matchLabels: {app: client}}",
            "NetworkPolicy shop/p may select shop/client",
        ),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "podSelector: {matchExpressions: [{key: app, operator: In, values: [server]}]}",
            "NetworkPolicy shop/p may select shop/server",
        ),
        (
            "cilium.io/v2",
            "CiliumNetworkPolicy",
            "endpointSelector: {matchLabels: {'k8s:app': server}}",
            "CiliumNetworkPolicy shop/p may select shop/server",
        ),
        (
            "cilium.io/v2",
            "CiliumClusterwideNetworkPolicy",
            "endpointSelector: {}",
            "CiliumClusterwideNetworkPolicy p may select shop/client",
        ),
        (
            "projectcalico.org/v3",
            "NetworkPolicy",
            "selector: app == 'server'",
            "Calico NetworkPolicy shop/p may select shop/client",
        ),
        (
            "crd.projectcalico.org/v1",
            "GlobalNetworkPolicy",
            "selector: all()",
            "Calico GlobalNetworkPolicy p may select shop/client",
        ),
        ("crd.antrea.io/v1beta1", "NetworkPolicy", "", "Antrea NetworkPolicy shop/p may select shop/client"),
        (
            "crd.antrea.io/v1beta1",
            "ClusterNetworkPolicy",
            "",
            "Antrea ClusterNetworkPolicy p may select shop/client",
        ),
        (
            "policy.networking.k8s.io/v1alpha1",
            "AdminNetworkPolicy",
            "subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: server}}}}",
            "AdminNetworkPolicy p may select shop/server",
        ),
        (
            "policy.networking.k8s.io/v1alpha1",
            "BaselineAdminNetworkPolicy",
            "subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: shop}}}",
            "BaselineAdminNetworkPolicy p may select shop/client",
        ),
        (
            "policy.networking.k8s.io/v1alpha2",
            "ClusterNetworkPolicy",
            "subject: {namespaces: {}}",
            "ClusterNetworkPolicy p may select shop/client",
        ),
        // Malformed: who knows what was meant.
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "podSelector: {matchLabels: [nobody]}",
            "NetworkPolicy shop/p may select shop/client",
        ),
    ];
    let scene = Scene::new("policykinds", "auto");
    for (group, kind, spec, because) in BY {
        let name = format!("{kind} of {group}");
        scene.police(Some(&policy(group, kind, spec)), &format!("shop/server, over the wire: {because}"));
        assert_eq!(scene.via(&name), "wire", "{name}");
    }
    let refused = scene.mesh.ask(&["status"])["refused"].to_string();
    assert!(refused.contains("NetworkPolicy shop/p: spec.podSelector.matchLabels"), "{refused}");

    for (group, kind, spec) in [
        ("networking.k8s.io/v1", "NetworkPolicy", "podSelector: {matchLabels: {app: nobody}}"),
        ("projectcalico.org/v3", "StagedNetworkPolicy", "selector: all()"),
    ] {
        let name = format!("{kind} of {group} that does not act here");
        scene.police(Some(&policy(group, kind, spec)), "shop/server, delivered in its namespace");
        assert_eq!(scene.via(&name), "direct", "{name}");
    }
}

fn policy(group: &str, kind: &str, spec: &str) -> String {
    format!("{{apiVersion: {group}, kind: {kind}, metadata: {{name: p, namespace: shop}}, spec: {{{spec}}}}}")
}

#[test]
fn over_the_wire_both_ends_leave_a_record_that_names_both() {
    let mut scene = Scene::new("wirerecords", "wire");
    let mut expected = Vec::new();
    for destination in scene.destinations() {
        let (mut client, local) = dial(&scene.client, destination, &[]);
        client.ping("hello").unwrap();
        let seen = scene.echo.accepted().unwrap();
        assert_eq!(seen.ip().to_canonical(), local.ip(), "{destination}: the server sees the client");
        drop(client);
        expected.push((destination, local));
    }
    wait_for(|| scene.mesh.records().len() == 2 * expected.len());
    let records = scene.mesh.records();
    for record in &records {
        assert_eq!(record["src.workload"], "shop/client", "{record}");
        assert_eq!(record["dst.workload"], "shop/server", "{record}");
        assert_eq!(record["reason"], "closed", "{record}");
    }
    let (outbound, inbound): (Vec<_>, Vec<_>) =
        records.iter().partition(|record| record["direction"] == "outbound");
    for (destination, local) in &expected {
        let own = outbound.iter().find(|record| record["src.addr"] == local.to_string()).unwrap();
        assert_eq!(own["via"], "wire", "{own}");
        assert_eq!(own["dst.addr"], destination.to_string(), "{own}");
        // The application's own socket holds its port in this namespace, so the wire has another.
        let far = |record: &&&Value| {
            let from: SocketAddr = record["src.addr"].as_str().unwrap().parse().unwrap();
            from.ip() == local.ip() && from.port() != local.port()
        };
        assert_eq!(inbound.iter().filter(far).count(), 2, "{local}: {inbound:?}");
    }
    assert!(inbound.iter().all(|record| record["via"].is_null()), "{inbound:?}");
}

#[test]
fn a_pod_that_calls_itself_stays_in_its_namespace() {
    let scene = Scene::new("policyself", "auto");
    scene.police(
        Some(DENY_ALL),
        "shop/server, over the wire: NetworkPolicy shop/deny-all may select shop/client",
    );
    for destination in [scene.service.v4_addr(PORT), scene.service.v6_addr(PORT)] {
        let (mut client, local) = dial(&scene.server, destination, &[]);
        client.ping("hello").unwrap();
        assert_eq!(scene.row(local)["via"], "direct", "{destination}");
    }
}
