//! `millstream controller` on a real API server, with the rights that the chart gives it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use cluster::{Cluster, release::IN_NAMESPACE};
use harness::{Agent, AgentOptions, Io, PATIENCE, Process, millstream};
use model::ObjectName;
use serde_json::{Value, json};

use crate::source::watched::{Watched, kubeconfig_of};

const MANIFESTS: &str = include_str!("../../../daemonset/millstream.yaml");
const ACCOUNT: &str = "system:serviceaccount:millstream-system:millstream-controller";
/// For many hosts.
const MANY_PATIENCE: Duration = Duration::from_secs(60);
const IN_SHOP: &str = "--namespace=shop";

/// As Istio's: the status is written apart from the rest.
const CRD: &str = "
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
    storage: true
    subresources: { status: {} }
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: { type: object, x-kubernetes-preserve-unknown-fields: true }
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
            properties:
              addresses:
                type: array
                items: { type: object, properties: { value: { type: string }, host: { type: string } } }
";

/// A cluster with ServiceEntries, and what the chart makes for the controller.
struct Mesh {
    cluster: Cluster,
}

/// One controller; dropping it kills it.
struct Controller {
    process: Process,
    log: PathBuf,
}

// === impl Mesh ===

impl Mesh {
    fn start(name: &str) -> Self {
        Self::of(Cluster::api(name).unwrap())
    }

    fn of(cluster: Cluster) -> Self {
        cluster.apply(CRD).unwrap();
        cluster.wait(&["--for=condition=Established", "crd/serviceentries.networking.istio.io"]).unwrap();
        cluster.apply("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}").unwrap();
        let is_its = |manifest: &&str| {
            manifest.contains("\nkind: Lease\n") || manifest.contains("\n  name: millstream-allocations\n")
        };
        let its: Vec<_> = MANIFESTS.split("\n---\n").filter(is_its).collect();
        assert_eq!(its.len(), 2);
        cluster.apply(&its.join("\n---\n")).unwrap();
        Self { cluster }
    }

    fn controller(&self, identity: &str) -> Controller {
        let source = format!("kubernetes:{}", kubeconfig_of(&self.cluster, ACCOUNT).display());
        let log = self.cluster.file(&format!("{identity}.log"));
        let place = self.cluster.control();
        let mut command = place.command(&[millstream().unwrap()]).unwrap();
        command.args(["controller", "--source", &source, "--identity", identity, "--health-port"]);
        // Two of them share the network.
        command.arg(if identity == "two" { "15023" } else { "15022" });
        Controller { process: place.start(command, Io::Log(&log)).unwrap(), log }
    }

    fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.kubectl(args).unwrap().stdout().unwrap().to_owned()
    }

    fn apply(&self, name: &str, metadata: &str, spec: &str) {
        let entry = format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}, namespace: shop, \
             {metadata}}}, spec: {{ports: [{{number: 443, name: tls}}], {spec}}}}}"
        );
        self.cluster.apply(&entry).unwrap();
    }

    fn delete(&self, name: &str) {
        self.kubectl(&["delete", "serviceentry", name, IN_SHOP]);
    }

    /// As somebody else would.
    fn write_status(&self, name: &str, manager: &str, status: &str) {
        let (manager, patch) =
            (format!("--field-manager={manager}"), format!("--patch={{\"status\":{status}}}"));
        let args = [
            "patch",
            "serviceentry",
            name,
            IN_SHOP,
            "--subresource=status",
            "--type=merge",
            &manager,
            &patch,
        ];
        self.kubectl(&args);
    }

    /// `host value` of each address, by entry; without a status there is no entry.
    fn statuses(&self) -> BTreeMap<String, Vec<String>> {
        let list: Value = self
            .cluster
            .kubectl(&["get", "serviceentries", IN_SHOP, "--output=json"])
            .unwrap()
            .json()
            .unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let of = |entry: &Value| {
            let addresses = entry["status"]["addresses"].as_array()?;
            let pair = |address: &Value| format!("{} {}", text(&address["host"]), text(&address["value"]));
            Some((text(&entry["metadata"]["name"]), addresses.iter().map(pair).collect()))
        };
        list["items"].as_array().unwrap().iter().filter_map(of).collect()
    }

    fn status(&self, name: &str) -> Vec<String> {
        self.statuses().remove(name).unwrap_or_default()
    }

    fn wait_status(&self, name: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
        let is_there = || Some(self.status(name)).filter(|status| is_so(status));
        self.wait(&format!("the status of {name}"), is_there)
    }

    fn wait<T>(&self, what: &str, found: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found() {
                return found;
            }
            if deadline < Instant::now() {
                let logs = ["one", "two", "three"].map(|name| self.cluster.file(&format!("{name}.log")));
                let logs = logs.map(|log| fs::read_to_string(log).unwrap_or_default()).join("\n--\n");
                panic!("never: {what}; {:?}\n{logs}", self.statuses());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn holder(&self) -> String {
        let holder = "--output=jsonpath={.spec.holderIdentity}";
        self.kubectl(&["get", "lease/millstream-controller", IN_NAMESPACE, holder])
    }

    fn wait_holder(&self, identity: &str) {
        self.wait(&format!("{identity} leads"), || (self.holder() == identity).then_some(()));
    }

    fn freed(&self) -> String {
        self.kubectl(&["get", "configmap/millstream-allocations", IN_NAMESPACE, "--output=jsonpath={.data}"])
    }

    fn readiness(&self, port: &str) -> String {
        let (url, place) = (format!("http://127.0.0.1:{port}/readyz"), self.cluster.control());
        let asked = place.run(&["curl", "--silent", "--show-error", "--max-time", "10", &url]).unwrap();
        asked.any_stdout().to_owned()
    }
}

// === impl Controller ===

impl Controller {
    fn signal(&self, signal: &str) {
        let status =
            std::process::Command::new("kill").args([signal, &self.process.pid().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// SIGTERM, as a kubelet would.
    fn end(self) {
        self.signal("-TERM");
        let output = self.process.wait(PATIENCE).unwrap();
        assert!(output.status.success(), "{output:?}: {}", fs::read_to_string(&self.log).unwrap());
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

fn has_both(status: &[String]) -> bool {
    let of = |prefix: &str| status.iter().any(|pair| pair.contains(prefix));
    of(" 240.240.") && of(" 2001:2:0:")
}

fn ipv4(status: &[String]) -> Ipv4Addr {
    let value = status.iter().find_map(|pair| pair.split_once(' ').unwrap().1.parse().ok());
    value.unwrap_or_else(|| panic!("no IPv4 address in {status:?}"))
}

/// Another host of the namespace for which the hash proposes this address.
fn rival(address: Ipv4Addr) -> String {
    let slot = (address.to_bits() & 0xffff) - 1;
    let fnv1a = |text: &str| {
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    };
    let mut hosts = (0..).map(|n| format!("rival-{n}.example.com"));
    hosts.find(|host| fnv1a(&format!("shop/{host}")) % 65_534 == slot).unwrap()
}

fn by_dns(host: &str) -> String {
    format!("hosts: [{host}], resolution: DNS")
}

#[test]
fn one_of_two_controllers_gives_addresses_and_none_ever_moves() {
    let mesh = Mesh::start("allocation");
    mesh.apply("a", "", &by_dns("a.example.com"));
    mesh.apply(
        "two",
        "",
        "hosts: [x.example.com, y.example.com], resolution: STATIC, endpoints: [{address: 192.0.2.1}]",
    );
    mesh.apply("own", "", "hosts: [own.example.com], resolution: DNS, addresses: [203.0.113.1]");
    mesh.apply("none", "", "hosts: [none.example.com], resolution: NONE");
    mesh.apply("wild", "", "hosts: ['*.example.com'], resolution: STATIC");
    mesh.apply(
        "unwanted",
        "labels: {networking.istio.io/enable-autoallocate-ip: 'false'}",
        &by_dns("u.example.com"),
    );
    mesh.apply("istiods", "", &by_dns("i.example.com"));
    let istiods = r#"{"addresses":[{"value":"240.240.0.1","host":"i.example.com"},{"value":"2001:2::1","host":"i.example.com"}]}"#;
    mesh.write_status("istiods", "pilot-discovery", istiods);
    let istiods = ["i.example.com 240.240.0.1", "i.example.com 2001:2::1"];

    mesh.apply("first", "", &by_dns("f.example.com"));
    mesh.write_status("first", "somebody", r#"{"addresses":[{"value":"10.9.8.7","host":"f.example.com"}]}"#);

    let one = mesh.controller("one");
    mesh.wait_holder("one");
    let two = mesh.controller("two");
    let a = mesh.wait_status("a", has_both);
    let both = mesh.wait_status("two", |status| status.len() == 4 && has_both(status));
    let hosts: Vec<_> = both.iter().map(|pair| pair.split_once(' ').unwrap().0).collect();
    assert_eq!(hosts, ["x.example.com", "x.example.com", "y.example.com", "y.example.com"]);
    for ready in ["15022", "15023"] {
        mesh.wait("it is ready", || (mesh.readiness(ready) == "ready").then_some(()));
    }
    let first = mesh.wait_status("first", |status| status.len() == 2);
    assert_eq!(first[0], "f.example.com 10.9.8.7", "what was written first holds");
    let given = mesh.statuses();
    let names: Vec<_> = given.keys().map(|name| &**name).collect();
    assert_eq!(names, ["a", "first", "istiods", "two"], "the others are given none");
    assert_eq!(given["istiods"], istiods);

    // An agent adopts them.
    let mut agent = Watched::start(&mesh.cluster);
    let host = ObjectName::new("shop", "a.example.com");
    let snapshot =
        agent.wait("a host with addresses", |s| s.service(&host).is_some_and(|s| s.allocated.len() == 2));
    let allocated = snapshot.service(&host).unwrap().allocated.iter().map(|ip| format!("a.example.com {ip}"));
    assert_eq!(allocated.collect::<Vec<_>>(), a);

    // The one that leads is killed: the other takes over, once its Lease has run out.
    drop(one);
    mesh.apply("d", "", &by_dns("d.example.com"));
    let d = mesh.wait_status("d", has_both);
    assert_eq!(mesh.holder(), "two");
    for (name, status) in &given {
        assert_eq!(mesh.status(name), *status, "{name}");
    }

    // What is gone is nobody else's, and the next that leads knows it: at once, for the one before has ended well.
    mesh.delete("a");
    mesh.wait("it is written down as freed", || mesh.freed().contains("shop/a.example.com").then_some(()));
    two.end();
    assert_eq!(mesh.holder(), "");
    let three = mesh.controller("three");
    mesh.wait_holder("three");
    mesh.apply("rival", "", &by_dns(&rival(ipv4(&a))));
    let rival = mesh.wait_status("rival", has_both);
    assert_ne!(ipv4(&rival), ipv4(&a));
    mesh.apply("a", "", &by_dns("a.example.com"));
    assert_eq!(mesh.wait_status("a", has_both), a, "its own again");

    // One that is not to have any, and one whose address somebody claims.
    let label = "networking.istio.io/enable-autoallocate-ip=false";
    mesh.kubectl(&["label", "serviceentry", "two", label, IN_SHOP]);
    mesh.wait_status("two", <[String]>::is_empty);
    assert_eq!(
        mesh.kubectl(&["get", "serviceentry", "two", IN_SHOP, "--output=jsonpath={.status.addresses}"]),
        "[]"
    );
    mesh.apply(
        "claim",
        "",
        &format!("hosts: [claim.example.com], resolution: DNS, addresses: [{}]", ipv4(&d)),
    );
    let moved = mesh.wait_status("d", |status| has_both(status) && ipv4(status) != ipv4(&d));
    let events = [
        "get",
        "events",
        IN_SHOP,
        "--field-selector=reason=NotAllocated",
        "--output=jsonpath={.items[*].message}",
    ];
    let claimed =
        format!("host shop/d.example.com had {}, which ServiceEntry shop/claim claims for itself", ipv4(&d));
    mesh.wait("an Event", || mesh.kubectl(&events).contains(&claimed).then_some(()));

    // What makes no sense harms nobody.
    mesh.apply("bad", "", "hosts: [7]");
    mesh.apply("last", "", &by_dns("last.example.com"));
    mesh.wait_status("last", has_both);
    assert_eq!(mesh.status("d"), moved);
    assert_eq!(mesh.status("istiods"), istiods);
    assert!(!three.log().contains("panicked"), "{}", three.log());
    three.end();
}

#[test]
fn a_leader_that_was_stopped_leads_no_more() {
    let mesh = Mesh::start("stopped");
    let one = mesh.controller("one");
    mesh.wait_holder("one");
    let two = mesh.controller("two");
    one.signal("-STOP");
    mesh.apply("a", "", &by_dns("a.example.com"));
    let a = mesh.wait_status("a", has_both);
    assert_eq!(mesh.holder(), "two");
    one.signal("-CONT");
    mesh.wait("it knows", || one.log().contains("two leads; this controller looks on").then_some(()));

    // While the API server is away, nobody ends.
    mesh.cluster.stop_api_server().unwrap();
    mesh.wait("they miss it", || two.log().contains("This controller leads no more").then_some(()));
    mesh.cluster.start_api_server().unwrap();
    mesh.apply("b", "", &by_dns("b.example.com"));
    mesh.wait_status("b", has_both);
    assert_eq!(mesh.status("a"), a);
    one.end();
    two.end();
}

#[test]
fn where_istiod_gives_addresses_no_other_does() {
    let mesh = Mesh::of(Cluster::start("istiod").unwrap());
    let node = mesh.cluster.node("n1").unwrap();
    let own = AgentOptions::default().arg("--daemonset").arg("millstream-system/millstream");
    let agent = Agent::start(node.post().unwrap(), own).unwrap();
    let told = || agent.cli(&["dns", "allocations"]).unwrap().any_stdout().to_owned();
    assert!(told().starts_with("NAMESPACE "), "{}", told());
    mesh.cluster.apply("{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}").unwrap();
    let lock = |holder: &str| {
        let record = format!(
            r#"{{"holderIdentity":"{holder}","leaseDurationSeconds":30,"renewTime":"2026-01-01T00:00:00Z"}}"#
        );
        let map = format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: istio-ip-autoallocate, namespace: istio-system, \
             annotations: {{control-plane.alpha.kubernetes.io/leader: '{record}'}}}}}}"
        );
        mesh.cluster.apply(&map).unwrap();
    };
    lock("istiod-a");
    mesh.apply("a", "", &by_dns("a.example.com"));
    let one = mesh.controller("one");
    let held = "istiod gives addresses (istiod-a holds ConfigMap istio-system/istio-ip-autoallocate)";
    mesh.wait("it says so", || one.log().contains(held).then_some(()));
    assert_eq!(mesh.holder(), "one");
    assert_eq!(mesh.statuses(), BTreeMap::new());
    // Who asks an agent is told so, above what was given.
    mesh.wait("an agent says so", || told().contains(held).then_some(()));
    let lines = told();
    let [said, heading] = &lines.lines().collect::<Vec<_>>()[..] else { panic!("{lines}") };
    assert!(
        said.starts_with("the controller (one, since 20") && said.contains("): standing by: "),
        "{lines}"
    );
    assert!(heading.starts_with("NAMESPACE "), "{lines}");
    assert_eq!(agent.json(&["dns", "allocations"]).unwrap(), json!([]), "the list stays what it is");
    lock("");
    mesh.wait_status("a", has_both);
    mesh.wait("an agent says no more of it", || (!told().contains("standing by")).then_some(()));
    assert!(told().contains("a.example.com"), "{}", told());
    assert_eq!(one.log().matches(held).count(), 2, "said once, and once that it is over: {}", one.log());
    one.end();
}

/// What is wrong with the allocation as a whole is for every operator to see.
#[test]
fn a_range_that_is_the_services_is_named() {
    let mesh = Mesh::start("services");
    let one = mesh.controller("one");
    mesh.wait_holder("one");
    mesh.apply("a", "", &by_dns("a.example.com"));
    mesh.wait_status("a", has_both);
    assert_eq!(mesh.freed(), "", "nothing is worth saying");
    mesh.cluster
        .apply("{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: more}, spec: {cidrs: [240.240.0.0/20]}}")
        .unwrap();
    let named =
        "240.240.0.0/16, of which hosts are given addresses, overlaps 240.240.0.0/20 of ServiceCIDR more";
    mesh.wait("it is told", || mesh.freed().contains(named).then_some(()));
    assert!(one.log().contains(named), "{}", one.log());
    let agents = "--as=system:serviceaccount:millstream-system:millstream";
    let read = ["get", "configmap/millstream-allocations", IN_NAMESPACE, agents, "--output=jsonpath={.data}"];
    assert!(mesh.kubectl(&read).contains(named), "agents may read it");
    mesh.kubectl(&["delete", "servicecidr", "more", "--wait=false"]);
    mesh.wait("it is told no more", || (!mesh.freed().contains(named)).then_some(()));
    one.end();
}

/// As many as the range is made for.
#[test]
fn twenty_thousand_hosts_have_addresses_of_which_none_moves() {
    const ENTRIES: usize = 80;
    const HOSTS: usize = 250;
    let mesh = Mesh::start("many");
    let one = mesh.controller("one");
    mesh.wait_holder("one");
    let mut agent = Watched::start(&mesh.cluster);

    let entry = |n: usize| {
        let hosts: Vec<_> = (0..HOSTS).map(|host| format!("h{host}.e{n}.example.com")).collect();
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": format!("e{n}"), "namespace": "shop"},
            "spec": {"hosts": hosts, "resolution": "DNS", "ports": [{"number": 443, "name": "tls"}]},
        })
    };
    let apply = |entries: std::ops::Range<usize>| {
        let all: Vec<_> = entries.map(|n| entry(n).to_string()).collect();
        mesh.cluster.apply(&all.join("\n---\n")).unwrap();
    };
    // Until each of them has everything, and as long as that took.
    let wait_written = |entries: usize| {
        let begun = Instant::now();
        loop {
            let statuses = mesh.statuses();
            let complete = statuses.values().filter(|status| status.len() == 2 * HOSTS).count();
            if complete == entries {
                return (statuses, begun.elapsed());
            }
            assert!(
                begun.elapsed() < MANY_PATIENCE,
                "{complete} of {entries} after {MANY_PATIENCE:?}: {}",
                one.log()
            );
            thread::sleep(Duration::from_millis(500));
        }
    };
    let by_host = |statuses: &BTreeMap<String, Vec<String>>| {
        let mut hosts: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        for pair in statuses.values().flatten() {
            let (host, ip) = pair.split_once(' ').unwrap();
            assert!(hosts.entry(host.to_owned()).or_default().insert(ip.parse().unwrap()), "{pair}");
        }
        hosts
    };
    let mut agree = |what: &str, hosts: &BTreeMap<String, BTreeSet<IpAddr>>| {
        let begun = Instant::now();
        agent.wait(what, |snapshot| {
            hosts.iter().all(|(host, ips)| {
                let service = snapshot.service(&ObjectName::new("shop", host));
                service
                    .is_some_and(|service| service.allocated.iter().copied().collect::<BTreeSet<_>>() == *ips)
            })
        });
        begun.elapsed()
    };

    apply(0..ENTRIES);
    let (statuses, written) = wait_written(ENTRIES);
    let first = by_host(&statuses);
    let all: BTreeSet<_> = first.values().flatten().collect();
    assert_eq!((first.len(), all.len()), (ENTRIES * HOSTS, 2 * ENTRIES * HOSTS), "each has two of its own");
    eprintln!(
        "{} hosts: written after {written:?}, known to an agent {:?} later",
        first.len(),
        agree("all", &first)
    );

    // Half of them go, and as many others come.
    let gone: Vec<_> = (0..ENTRIES / 2).map(|n| format!("e{n}")).collect();
    let mut delete = vec!["delete", "serviceentry", IN_SHOP];
    delete.extend(gone.iter().map(|name| &**name));
    mesh.kubectl(&delete);
    apply(ENTRIES..ENTRIES + ENTRIES / 2);
    let (statuses, written) = wait_written(ENTRIES);
    let second = by_host(&statuses);
    assert_eq!(second.len(), ENTRIES * HOSTS);
    for (host, ips) in &second {
        match first.get(host) {
            Some(before) => assert_eq!(ips, before, "{host} has moved"),
            None => assert!(
                ips.iter().all(|ip| !all.contains(ip)),
                "{host} has what was another's just now: {ips:?}"
            ),
        }
    }
    assert_eq!(second.values().flatten().collect::<BTreeSet<_>>().len(), 2 * second.len());
    eprintln!(
        "half of them others: written after {written:?}, known {:?} later",
        agree("the others", &second)
    );

    // Who comes back has its own again.
    apply(0..1);
    let (statuses, _) = wait_written(ENTRIES + 1);
    for (host, ips) in by_host(&statuses).iter().filter(|(host, _)| host.ends_with(".e0.example.com")) {
        assert_eq!(*ips, first[host], "{host}");
    }
    assert!(!one.log().contains(" WARN "), "{}", one.log());
    one.end();
}
