//! Hosts that a ServiceEntry makes known: the addresses that they are given, and who takes the connections.

use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use harness::{Mode, Pod, Process};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    dns::{Names, dig},
    mesh::{Mesh, NAMESPACE, dial, echo},
    road::{self, connect},
    steering::wait_for,
};

const HOST: &str = "api.example.com";
const PORT: u16 = 80;
/// Where the endpoints serve.
const TARGET: u16 = 8080;

/// A ServiceEntry of this host and port 80, and whatever else its spec says.
fn write(mesh: &Mesh, namespace: &str, host: &str, spec: &Value) {
    let name = host.replace('*', "any");
    let mut object = json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "hosts": [host],
            "ports": [{"number": PORT, "name": "tcp", "protocol": "TCP", "targetPort": TARGET}],
        },
    });
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    mesh.lab.write_manifest(&file(namespace, host), &object.to_string()).unwrap();
}

fn remove(mesh: &Mesh, namespace: &str, host: &str) {
    mesh.lab.remove_manifest(&file(namespace, host)).unwrap();
}

fn file(namespace: &str, host: &str) -> String {
    format!("serviceentry-{namespace}-{}.yaml", host.replace('*', "any"))
}

/// STATIC, with these pods behind it.
fn to(pods: &[&Pod]) -> Value {
    let ips = pods.iter().flat_map(|pod| pod.ips());
    json!({"resolution": "STATIC", "endpoints": ips.map(|ip| json!({"address": ip})).collect::<Vec<_>>()})
}

/// What a name means to a pod: `None` while the mesh does not answer.
fn address(client: &Pod, resolver: IpAddr, host: &str, family: &str) -> Option<IpAddr> {
    dig(client, resolver, &[host, family]).rsplit(' ').next()?.parse().ok()
}

impl Names {
    #[track_caller]
    fn address(&self, host: &str, family: &str) -> IpAddr {
        let ask = || address(&self.client, self.resolver.v4().into(), host, family);
        wait_for(|| ask().is_some());
        ask().unwrap()
    }
}

fn is_allocated(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets().starts_with(&[240, 240]),
        IpAddr::V6(ip) => ip.segments().starts_with(&[0x2001, 2, 0]),
    }
}

/// Who answers.
#[track_caller]
fn taker(client: &Pod, url: &str, args: &[&str]) -> String {
    let said = client.run(&[&["curl", "--silent", "--show-error", url][..], args].concat()).unwrap();
    said.stdout().unwrap().split(':').next().unwrap().to_owned()
}

#[test]
fn a_host_without_an_address_is_given_one_and_dialled_by_name() {
    let names = Names::new("entry");
    let outside = names.mesh.stranger("outside");
    let _serving = outside.serve(Mode::Http, TARGET).unwrap();
    write(&names.mesh, NAMESPACE, HOST, &to(&[&outside]));
    let addresses = [names.address(HOST, "A"), names.address(HOST, "AAAA")];
    assert!(addresses.into_iter().all(is_allocated), "{addresses:?}");

    let service = format!("{NAMESPACE}/{HOST}");
    for (family, ip) in ["--ipv4", "--ipv6"].into_iter().zip(addresses) {
        assert_eq!(taker(&names.client, &format!("http://{HOST}/"), &[family]), "outside", "{family}");
        let dialled = SocketAddr::new(ip, PORT);
        let record = record_of(&names.mesh, dialled);
        assert_eq!(record["dst.service"], *service, "{record}");
        let upstream: SocketAddr = record["upstream.addr"].as_str().unwrap().parse().unwrap();
        assert_eq!(upstream.port(), TARGET, "{record}");
        assert!(outside.ips().contains(&upstream.ip()), "{record}");

        let (open, local) = dial(&names.client, dialled, &[]);
        let rows = names.mesh.agent.json(&["connections"]).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["client"] == local.to_string());
        let row = row.unwrap_or_else(|| panic!("not proxied: {rows}"));
        assert_eq!(row["service"], json!({"namespace": NAMESPACE, "name": HOST}), "{row}");
        drop(open);
    }

    let why = names.mesh.ask(&["why", &names.client.full_name(), &format!("{HOST}:{PORT}")]);
    assert_eq!(why["verdict"], "proxied", "{why}");
    assert!(why["summary"].as_str().unwrap().contains(&service), "{why}");
    let told = |stage: &str| {
        let steps = why["steps"].as_array().unwrap();
        steps.iter().filter(|step| step["stage"] == stage).map(Value::to_string).collect::<String>()
    };
    assert!(told("dns").contains(&addresses[0].to_string()), "{why}");
    assert!(told("select").contains(&outside.v4().to_string()), "{why}");

    let listeners = names.mesh.ask(&["maps", "listeners"]);
    for address in addresses {
        let fits = |row: &&Value| row["address"] == address.to_string() && row["port"] == PORT;
        let row = listeners.as_array().unwrap().iter().find(fits);
        let row = row.unwrap_or_else(|| panic!("no {address} in {listeners}"));
        assert_eq!((&row["kind"], &row["service"]), (&json!("allocated"), &json!(HOST)), "{row}");
    }
}

#[test]
fn two_nodes_agree_on_addresses_and_keep_them_whatever_comes_goes_and_restarts() {
    let mut names = Names::new("agree");
    let far_node = names.mesh.lab.node("b").unwrap();
    let mut far_agent = road::agent(&far_node, "{}");
    let far = far_node.pod(NAMESPACE, "far").start().unwrap();
    far_agent.wait_captured(&far).unwrap();
    let resolver = IpAddr::from(names.resolver.v4());
    let outside = names.mesh.stranger("outside");
    let hosts: Vec<_> = (0..8).map(|n| format!("host{n}.example.com")).collect();
    for host in &hosts {
        write(&names.mesh, NAMESPACE, host, &to(&[&outside]));
    }
    let all = |pod: &Pod| -> Vec<_> {
        let of_host = |host: &String| ["A", "AAAA"].map(|family| address(pod, resolver, host, family));
        hosts.iter().flat_map(of_host).collect()
    };
    let agree = |names: &Names, what: &str, expected: Option<&Vec<Option<IpAddr>>>| {
        wait_for(|| all(&names.client).iter().chain(&all(&far)).all(Option::is_some));
        let near = all(&names.client);
        assert_eq!(all(&far), near, "{what}: two nodes");
        assert!(
            expected.is_none_or(|expected| *expected == near),
            "{what}: {near:?}, and before {expected:?}"
        );
        near
    };
    let first = agree(&names, "new", None);
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len(), "shared: {first:?}");
    assert!(first.iter().flatten().all(|ip| is_allocated(*ip)), "{first:?}");

    for host in ["aaa.example.com", "zzz.example.com"] {
        write(&names.mesh, NAMESPACE, host, &to(&[&outside]));
        names.address(host, "A");
    }
    agree(&names, "others came", Some(&first));

    // A name that is gone and comes back has its address again.
    remove(&names.mesh, NAMESPACE, &hosts[0]);
    wait_for(|| address(&names.client, resolver, &hosts[0], "A").is_none());
    write(&names.mesh, NAMESPACE, &hosts[0], &to(&[&outside]));
    agree(&names, "one went and came", Some(&first));

    for agent in [&mut names.mesh.agent, &mut far_agent] {
        agent.kill().unwrap();
    }
    for agent in [&mut far_agent, &mut names.mesh.agent] {
        agent.launch().unwrap();
    }
    agree(&names, "all agents restarted", Some(&first));
}

/// The same host in two namespaces is two services, and each is seen where it is exported to.
#[test]
fn a_host_is_seen_where_it_is_exported_to() {
    let names = Names::new("export");
    names.mesh.lab.label_namespace("other", crate::mesh::LABEL, Some("ambient")).unwrap();
    let other = names.mesh.node.pod("other", "elsewhere").start().unwrap();
    names.mesh.agent.wait_captured(&other).unwrap();
    let resolver = IpAddr::from(names.resolver.v4());
    let outside = names.mesh.stranger("outside");
    let with = |export: &[&str]| {
        let mut spec = to(&[&outside]);
        spec["exportTo"] = json!(export);
        spec
    };
    write(&names.mesh, NAMESPACE, "own.example.com", &with(&["."]));
    write(&names.mesh, NAMESPACE, "other.example.com", &with(&["other"]));
    write(&names.mesh, NAMESPACE, "all.example.com", &with(&["*"]));
    write(&names.mesh, "other", "all.example.com", &with(&["."]));
    wait_for(|| address(&names.client, resolver, "all.example.com", "A").is_some());
    for (host, here, there) in [
        ("own.example.com", true, false),
        ("other.example.com", false, true),
        ("all.example.com", true, true),
    ] {
        for (pod, is_seen) in [(&names.client, here), (&other, there)] {
            wait_for(|| address(pod, resolver, host, "A").is_some() == is_seen);
        }
    }
    let both = [&names.client, &other].map(|pod| address(pod, resolver, "all.example.com", "A"));
    assert_ne!(both[0], both[1], "each namespace has its own first");
}

#[test]
fn a_network_passes_to_where_it_was_dialled_and_is_the_services() {
    let names = Names::new("network");
    let outside = names.mesh.stranger("outside");
    let ip: IpAddr = "198.51.100.77".parse().unwrap();
    outside.add_address(ip).unwrap();
    let to_outside = ["ip", "route", "add", "198.51.100.77/32", "dev", "br0"];
    names.mesh.node.run(&to_outside).unwrap().stdout().unwrap();
    let _listening = echo(&outside, PORT);
    let spec = json!({"addresses": ["198.51.100.0/24"], "resolution": "NONE"});
    write(&names.mesh, NAMESPACE, "net.example.com", &spec);
    names.wait_for_service("net.example.com");

    let (mut connection, local) = dial(&names.client, (ip, PORT), &[]);
    connection.ping("hello").unwrap();
    assert!(names.mesh.is_proxied(local));
    connection.finish().unwrap();
    let record = record_of(&names.mesh, (ip, PORT).into());
    assert_eq!(record["dst.service"], "shop/net.example.com", "{record}");
    assert_eq!(record["upstream.addr"], "198.51.100.77:80", "{record}");
    // A network is no answer.
    assert_eq!(names.dig(names.resolver.v4().into(), &["net.example.com", "A"]), "REFUSED");
    let listeners = names.mesh.ask(&["maps", "listeners"]);
    let row = listeners.as_array().unwrap().iter().find(|row| row["service"] == "net.example.com").unwrap();
    assert_eq!((&row["address"], &row["kind"]), (&json!("198.51.100.0/24"), &json!("network")), "{row}");
}

/// The name server of the endpoints: what it knows changes, and it goes.
struct Zone {
    hosts: PathBuf,
    server: Option<Process>,
}

impl Zone {
    fn start(resolver: &Pod, file: PathBuf) -> Self {
        fs::write(&file, "").unwrap();
        let hosts = format!("--addn-hosts={}", file.display());
        let server = resolver.resolve(&[&hosts, "--local-ttl=1", "--local=/example.com/"]).unwrap();
        Self { hosts: file, server: Some(server) }
    }

    fn says(&self, name: &str, pods: &[&Pod]) {
        let lines = pods.iter().flat_map(|pod| pod.ips()).map(|ip| format!("{ip} {name}\n"));
        fs::write(&self.hosts, lines.collect::<String>()).unwrap();
        self.server.as_ref().unwrap().signal(Signal::SIGHUP).unwrap();
    }
}

#[test]
fn endpoints_that_are_names_follow_what_dns_says_and_outlive_the_resolver() {
    // Which is the fourth pod of the first node.
    let names = Names::of(Mesh::configured("named", "dns: {resolvers: [10.1.0.5]}"));
    let resolver = names.mesh.node.pod(crate::dns::OUTSIDE, "ns").start().unwrap();
    assert_eq!(resolver.v4().octets(), [10, 1, 0, 5], "the configuration is about somebody else");
    let mut zone = Zone::start(&resolver, names.mesh.node.run_dir().with_file_name("hosts"));
    let [blue, green] = ["blue", "green"].map(|name| names.mesh.stranger(name));
    let _serving = [&blue, &green].map(|pod| pod.serve(Mode::Http, TARGET).unwrap());
    let spec = json!({"resolution": "DNS", "endpoints": [{"address": "backend.example.com"}]});
    write(&names.mesh, NAMESPACE, HOST, &spec);
    let url = format!("http://{HOST}/");
    let addresses = [names.address(HOST, "A"), names.address(HOST, "AAAA")];
    assert!(addresses.into_iter().all(is_allocated), "{addresses:?}");

    // Nobody has the name yet.
    let reset = names.client.run(&["curl", "--silent", &url]).unwrap();
    assert!(!reset.status.success(), "{reset:?}");
    let reasons = || names.mesh.records().iter().map(|r| r["reason"].to_string()).collect::<Vec<_>>();
    wait_for(|| reasons().iter().any(|reason| reason.contains("name-unknown")));

    for pod in [&blue, &green, &blue] {
        zone.says("backend.example.com", &[pod]);
        let get = || {
            let said = names.client.run(&["curl", "--silent", &url]).unwrap();
            said.any_stdout().split(':').next().unwrap().to_owned()
        };
        wait_for(|| get() == pod.name());
        for family in ["--ipv4", "--ipv6"] {
            assert_eq!(taker(&names.client, &url, &[family]), pod.name(), "{family}");
        }
    }
    let why = names.mesh.ask(&["why", &names.client.full_name(), &format!("{HOST}:{PORT}")]);
    assert!(why.to_string().contains("perhaps backend.example.com:8080"), "{why}");

    zone.server = None;
    // The answers of a second ago have run out, and are used.
    let use_and_look = || {
        assert_eq!(taker(&names.client, &url, &[]), "blue");
        names.mesh.agent.log().unwrap().contains("its last addresses stay in use")
    };
    wait_for(use_and_look);
    assert_eq!(taker(&names.client, &url, &["--ipv6"]), "blue");
    let zone = Zone::start(&resolver, zone.hosts);
    zone.says("backend.example.com", &[&green]);
    wait_for(|| taker(&names.client, &url, &[]) == "green");
}

#[test]
fn a_port_of_any_address_is_the_services_of_an_entry_that_has_none() {
    let names = Names::new("anyaddress");
    let outside = names.mesh.node.pod("elsewhere", "outside").start_unannounced().unwrap();
    let _listening = [PORT, 81].map(|port| echo(&outside, port));
    write(&names.mesh, NAMESPACE, "any.example.com", &json!({"resolution": "NONE"}));
    names.wait_for_service("any.example.com");
    for ip in outside.ips() {
        for (port, service) in [(PORT, json!("shop/any.example.com")), (81, Value::Null)] {
            let addr = SocketAddr::new(ip, port);
            let (mut connection, local) = dial(&names.client, addr, &[]);
            connection.ping("hello").unwrap();
            assert!(names.mesh.is_proxied(local), "{addr}");
            connection.finish().unwrap();
            let record = record_of(&names.mesh, addr);
            assert_eq!(
                (&record["dst.service"], &record["upstream.addr"]),
                (&service, &json!(addr)),
                "{record}"
            );
        }
    }
    let listeners = names.mesh.ask(&["maps", "listeners"]);
    let row = listeners.as_array().unwrap().iter().find(|row| row["service"] == "any.example.com").unwrap();
    assert_eq!((&row["address"], &row["kind"]), (&json!("*"), &json!("any-address")), "{row}");
}

/// As Istio's sidecars do it.
#[test]
fn endpoints_take_connections_as_their_weights_say() {
    let names = Names::new("weights");
    let [heavy, light] = ["heavy", "light"].map(|name| names.mesh.stranger(name));
    let _serving = [&heavy, &light].map(|pod| pod.serve(Mode::Http, TARGET).unwrap());
    let endpoints = [(&heavy, json!(9)), (&light, json!(0))].map(|(pod, weight)| {
        pod.ips().into_iter().map(move |ip| json!({"address": ip, "weight": weight})).collect::<Vec<_>>()
    });
    let spec = json!({"resolution": "STATIC", "location": "MESH_INTERNAL", "endpoints": endpoints.concat()});
    write(&names.mesh, NAMESPACE, HOST, &spec);
    assert!(is_allocated(names.address(HOST, "A")));

    let url = format!("http://{HOST}/");
    let takers: Vec<_> = (0..200).map(|_| taker(&names.client, &url, &["--ipv4"])).collect();
    let of = |name: &str| takers.iter().filter(|taker| *taker == name).count();
    // Nine in ten on average; that it is less than three in four, or all, no run will see.
    let share = of("heavy");
    assert!((150..200).contains(&share) && share + of("light") == 200, "{share} of 200");

    let services = names.mesh.ask(&["services"]);
    let row = services.as_array().unwrap().iter().find(|row| row["name"] == HOST).unwrap();
    assert_eq!(row["location"], "MESH_INTERNAL", "{row}");
    for endpoint in row["endpoints"].as_array().unwrap() {
        let addr: SocketAddr = endpoint["address"].as_str().unwrap().parse().unwrap();
        let weight = if heavy.ips().contains(&addr.ip()) { json!(9) } else { Value::Null };
        assert_eq!(endpoint["weight"], weight, "{row}");
    }
    let why = names.mesh.ask(&["why", &names.client.full_name(), &format!("{HOST}:{PORT}")]);
    assert!(why.to_string().contains(&format!("perhaps {}:{TARGET}, weight 9", heavy.v4())), "{why}");
}

/// A workloadSelector: pods of the entry's namespace, as a Service has them.
#[test]
fn an_entry_may_select_pods() {
    let names = Names::new("selects");
    let pods = ["red", "blue"].map(|name| {
        let pod = names.mesh.node.pod(NAMESPACE, name).label("app", "paint").start().unwrap();
        names.mesh.agent.wait_captured(&pod).unwrap();
        pod
    });
    let _serving = pods.each_ref().map(|pod| pod.serve(Mode::Http, TARGET).unwrap());
    let spec = json!({"resolution": "STATIC", "workloadSelector": {"labels": {"app": "paint"}}});
    write(&names.mesh, NAMESPACE, HOST, &spec);
    assert!(is_allocated(names.address(HOST, "A")));
    let url = format!("http://{HOST}/");
    let both = BTreeSet::from(["blue".to_owned(), "red".to_owned()]);
    let mut takers = BTreeSet::new();
    // Sooner or later each has its turn.
    while takers != both {
        takers.insert(taker(&names.client, &url, &[]));
        assert!(takers.is_subset(&both), "{takers:?}");
    }
    pods[0].label("app", None).unwrap();
    let select = || {
        let why = names.mesh.ask(&["why", &names.client.full_name(), &format!("{HOST}:{PORT}")]);
        why.to_string()
    };
    wait_for(|| !select().contains(&pods[0].v4().to_string()));
    for _ in 0..32 {
        assert_eq!(taker(&names.client, &url, &[]), "blue");
    }
}

/// A Service that is only another name: of a host that the mesh knows, or of one that the resolver does.
#[test]
fn an_external_name_leads_to_what_it_names() {
    let names = Names::new("alias");
    let outside = names.mesh.stranger("outside");
    let _serving = outside.serve(Mode::Http, TARGET).unwrap();
    write(&names.mesh, NAMESPACE, HOST, &to(&[&outside]));
    let address = names.address(HOST, "A");
    for (name, target) in [("known", HOST), ("unknown", "www.example.com")] {
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": NAMESPACE, "name": name},
            "spec": {"type": "ExternalName", "externalName": target},
        });
        names.mesh.lab.write_manifest(&format!("service-{name}.yaml"), &service.to_string()).unwrap();
    }
    let resolver = names.resolver.v4().into();
    let ask = |name: &str| names.dig(resolver, &[name, "A"]);
    wait_for(|| ask("known.shop.svc.cluster.local") == format!("CNAME {HOST}.; A {address}"));
    let services = names.mesh.ask(&["services"]);
    let row = services.as_array().unwrap().iter().find(|row| row["name"] == "known").unwrap();
    assert_eq!((&row["port"], &row["external_name"]), (&Value::Null, &json!(HOST)), "{row}");
    let listed = names.mesh.agent.cli(&["services"]).unwrap();
    let of_known = |line: &&str| line.split_whitespace().nth(1) == Some("known");
    let line = listed.any_stdout().lines().find(of_known).unwrap();
    let words: Vec<_> = line.split_whitespace().take(6).collect();
    assert_eq!(words, [NAMESPACE, "known", "-", "-", "alias", "of"], "{listed:?}");
    assert_eq!(taker(&names.client, "http://known/", &[]), "outside");
    assert_eq!(
        ask("unknown.shop.svc.cluster.local"),
        "NXDOMAIN",
        "to follow it is for the cluster's resolver"
    );
}

#[test]
fn a_wrong_entry_is_refused_by_name_and_the_last_good_one_stays() {
    let names = Names::new("wrongentry");
    let outside = names.mesh.stranger("outside");
    let _serving = outside.serve(Mode::Http, TARGET).unwrap();
    write(&names.mesh, NAMESPACE, HOST, &to(&[&outside]));
    let before = names.address(HOST, "A");
    write(&names.mesh, NAMESPACE, HOST, &json!({"resolution": "PERHAPS"}));
    wait_for(|| names.mesh.ask(&["status"]).to_string().contains("PERHAPS"));
    assert_eq!(names.address(HOST, "A"), before);
    assert_eq!(taker(&names.client, &format!("http://{HOST}/"), &[]), "outside");
    // Nor is it dialled where nobody is meant to: a port that it does not declare.
    let error = connect(&names.client, (before, 81).into()).and_then(|mut stream| stream.read(&mut [0]));
    assert!(error.is_err(), "{error:?}");
    wait_for(|| names.mesh.ended("unknown-port") == 1);
}

#[track_caller]
pub(crate) fn record_of(mesh: &Mesh, addr: SocketAddr) -> Value {
    let fits = |record: &Value| record["dst.addr"] == addr.to_string() && record["direction"] == "outbound";
    let find = || mesh.records().into_iter().find(fits);
    wait_for(|| find().is_some());
    find().unwrap()
}
