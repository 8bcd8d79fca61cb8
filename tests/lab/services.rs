//! Which endpoint takes a connection to a service, and when none does.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use harness::{Endpoint, Mode, Pod, Server};
use serde_json::Value;

use crate::{
    mesh::{LABEL, Mesh, NAMESPACE},
    road::connect,
    steering::wait_for,
};

/// Where pods serve HTTP, unless a test says otherwise.
const PORT: u16 = 8080;
/// Enough for every endpoint that may be chosen to have been chosen: that one of three is left out has a
/// probability of less than one in a thousand million.
const MANY: usize = 64;

#[test]
fn a_vip_leads_to_the_target_port_by_number_and_by_name() {
    let mesh = Mesh::labelled("target");
    let client = mesh.pod("client");
    // The same name is another number in each pod.
    let [web1, web2] = [("web1", 8081), ("web2", 8082)]
        .map(|(name, number)| mesh.node.pod(NAMESPACE, name).port("http", number).start().unwrap());
    let _servers = [(&web1, PORT), (&web1, 8081), (&web2, PORT), (&web2, 8082)]
        .map(|(pod, port)| pod.serve(Mode::Http, port).unwrap());
    let builder = mesh.lab.service(NAMESPACE, "web").port("number", 80, PORT).port("name", 81, "http");
    let service = builder.endpoints(&[&web1, &web2]).apply().unwrap();
    await_endpoints(&mesh, &[("web1", "ready"), ("web2", "ready")]);
    for addr in [service.v4_addr(80), service.v6_addr(80), service.v4_addr(81), service.v6_addr(81)] {
        assert_eq!(takers(&client, addr), ["web1", "web2"], "{addr}");
    }
}

#[test]
fn ready_endpoints_take_connections_and_terminating_ones_when_no_other_is_left() {
    let mesh = Mesh::labelled("ready");
    let client = mesh.pod("client");
    let webs = Webs::start(&mesh, &["web1", "web2", "web3", "web4"]);
    let mut service = mesh.lab.service(NAMESPACE, "web").port("http", 80, PORT).apply().unwrap();
    for (endpoints, expected) in [
        (
            &[("web1", "ready"), ("web2", "ready"), ("web3", "not ready"), ("web4", "terminating")][..],
            &["web1", "web2"][..],
        ),
        (&[("web1", "not ready"), ("web2", "ready"), ("web3", "terminating")], &["web2"]),
        (&[("web1", "not ready"), ("web3", "terminating"), ("web4", "terminating")], &["web3", "web4"]),
    ] {
        service.set_endpoints(webs.endpoints(endpoints)).unwrap();
        await_endpoints(&mesh, endpoints);
        assert_eq!(takers(&client, service.v4_addr(80)), expected, "{endpoints:?}");
    }
}

#[test]
fn slices_say_who_serves_and_without_them_the_selector_does() {
    let mesh = Mesh::labelled("selector");
    let client = mesh.pod("client");
    let webs = Webs::start(&mesh, &["web1", "web2", "web3"]);
    for name in ["web1", "web2"] {
        webs.pod(name).label("app", Some("web")).unwrap();
    }
    let builder = mesh.lab.service(NAMESPACE, "web").port("http", 80, PORT).selector("app", "web");
    let mut service = builder.apply().unwrap();
    await_endpoints(&mesh, &[("web1", "ready"), ("web2", "ready")]);
    assert_eq!(takers(&client, service.v4_addr(80)), ["web1", "web2"]);
    webs.pod("web2").label("app", None).unwrap();
    await_endpoints(&mesh, &[("web1", "ready")]);
    assert_eq!(takers(&client, service.v6_addr(80)), ["web1"]);
    // Somebody's slice says otherwise, and is right.
    service.set_endpoints(webs.endpoints(&[("web3", "ready")])).unwrap();
    await_endpoints(&mesh, &[("web3", "ready")]);
    assert_eq!(takers(&client, service.v4_addr(80)), ["web3"]);
}

#[test]
fn client_ip_affinity_sticks_while_its_endpoint_is_ready() {
    let mesh = Mesh::labelled("affinity");
    let clients = ["client1", "client2"].map(|name| mesh.pod(name));
    let webs = Webs::start(&mesh, &["web1", "web2", "web3"]);
    let all = &[("web1", "ready"), ("web2", "ready"), ("web3", "ready")];
    let builder = mesh.lab.service(NAMESPACE, "web").port("http", 80, PORT);
    let mut service = builder.client_ip_affinity(Duration::from_secs(3_600)).apply().unwrap();
    service.set_endpoints(webs.endpoints(all)).unwrap();
    await_endpoints(&mesh, all);
    for (client, addr) in clients.iter().flat_map(|c| [(c, service.v4_addr(80)), (c, service.v6_addr(80))]) {
        assert_eq!(takers(client, addr).len(), 1, "{} to {addr}", client.name());
    }
    let [favourite] = &takers(&clients[0], service.v4_addr(80))[..] else { panic!("more than one") };
    let without: Vec<_> = all
        .iter()
        .map(|&(name, state)| (name, if name == favourite { "not ready" } else { state }))
        .collect();
    service.set_endpoints(webs.endpoints(&without)).unwrap();
    await_endpoints(&mesh, &without);
    let moved = takers(&clients[0], service.v4_addr(80));
    assert!(moved.len() == 1 && moved[0] != *favourite, "from {favourite} to {moved:?}");
}

#[test]
fn internal_traffic_policy_local_stays_on_the_node() {
    let mesh = Mesh::labelled("local");
    let far_node = mesh.lab.node("b").unwrap();
    let client = mesh.pod("client");
    let mut webs = Webs::start(&mesh, &["near"]);
    webs.add(far_node.pod(NAMESPACE, "far").start().unwrap());
    let builder = mesh.lab.service(NAMESPACE, "web").port("http", 80, PORT).node_local();
    let mut service = builder.apply().unwrap();
    let both = &[("near", "ready"), ("far", "ready")];
    service.set_endpoints(webs.endpoints(both)).unwrap();
    await_endpoints(&mesh, both);
    assert_eq!(takers(&client, service.v4_addr(80)), ["near"]);
    let far = &[("near", "not ready"), ("far", "ready")];
    service.set_endpoints(webs.endpoints(far)).unwrap();
    await_endpoints(&mesh, far);
    refused(&mesh, &client, service.v4_addr(80), "no-local-endpoint");
}

#[test]
fn what_a_service_cannot_take_is_refused_with_the_reason() {
    let mesh = Mesh::labelled("refused");
    let client = mesh.pod("client");
    let webs = Webs::start(&mesh, &["web1"]);
    let mut service = mesh.lab.service(NAMESPACE, "web").port("http", 80, PORT).apply().unwrap();
    for (endpoints, port, reason) in [
        (&[][..], 80, "no-endpoint"),
        (&[("web1", "not ready")], 80, "no-endpoint"),
        (&[("web1", "ready")], 81, "unknown-port"),
    ] {
        service.set_endpoints(webs.endpoints(endpoints)).unwrap();
        await_endpoints(&mesh, endpoints);
        for addr in [service.v4_addr(port), service.v6_addr(port)] {
            refused(&mesh, &client, addr, reason);
        }
    }
}

#[test]
fn a_pod_of_a_headless_service_is_reached_by_its_own_address() {
    let mesh = Mesh::labelled("headless");
    let client = mesh.pod("client");
    let webs = Webs::start(&mesh, &["web1", "web2"]);
    let service = mesh.lab.service(NAMESPACE, "web").headless().port("http", 80, PORT);
    let mut service = service.apply().unwrap();
    let both = &[("web1", "ready"), ("web2", "ready")];
    service.set_endpoints(webs.endpoints(both)).unwrap();
    await_endpoints(&mesh, both);
    for name in ["web1", "web2"] {
        for ip in webs.pod(name).ips() {
            let addr = SocketAddr::new(ip, PORT);
            assert_eq!(takers(&client, addr), [name]);
            let record = record_of(&mesh, addr);
            assert_eq!(record["dst.service"], "shop/web", "{record}");
            assert_eq!(record["dst.workload"], format!("shop/{name}"), "{record}");
        }
    }
}

#[test]
fn an_unknown_address_is_passed_through() {
    let mesh = Mesh::labelled("passthrough");
    let client = mesh.pod("client");
    // No manifest names it.
    let stranger = mesh.node.pod("elsewhere", "stranger").start_unannounced().unwrap();
    let mut server = stranger.serve(Mode::Http, PORT).unwrap();
    for (ip, own) in stranger.ips().into_iter().zip(client.ips()) {
        let addr = SocketAddr::new(ip, PORT);
        assert_eq!(ask(connect(&client, addr).unwrap()).unwrap(), "stranger");
        assert_eq!(server.accepted().unwrap().ip(), own, "what the server sees");
        let record = record_of(&mesh, addr);
        assert_eq!(record["upstream.addr"], addr.to_string(), "{record}");
        for field in ["dst.service", "dst.workload"] {
            assert!(record.get(field).is_none(), "{record}");
        }
    }
}

#[test]
fn new_endpoints_take_new_connections_and_old_ones_stay() {
    let mesh = Mesh::labelled("change");
    let client = mesh.pod("client");
    let webs = Webs::start(&mesh, &["web1", "web2"]);
    let mut service = mesh.lab.service(NAMESPACE, "web").port("http", 80, PORT).apply().unwrap();
    let addr = service.v4_addr(80);
    let mut old = Vec::new();
    for (endpoints, taker) in [([("web1", "ready")], "web1"), ([("web2", "ready")], "web2")] {
        service.set_endpoints(webs.endpoints(&endpoints)).unwrap();
        await_endpoints(&mesh, &endpoints);
        let stream = connect(&client, addr).unwrap();
        wait_for(|| mesh.is_proxied(stream.local_addr().unwrap()));
        old.push((stream, taker));
        assert_eq!(takers(&client, addr), [taker]);
    }
    service.withdraw().unwrap();
    wait_for(|| services(&mesh).is_empty());
    // The address means nothing any more, so it goes where nobody has it.
    refused(&mesh, &client, addr, "unreachable");
    for (stream, taker) in old {
        assert_eq!(ask(stream).unwrap(), taker);
    }
}

/// Pods that serve HTTP and say who they are.
struct Webs {
    pods: Vec<Pod>,
    servers: Vec<Server>,
}

// === impl Webs ===

impl Webs {
    /// Some of them outside the mesh: who serves need not be captured.
    fn start(mesh: &Mesh, names: &[&str]) -> Self {
        let mut webs = Self { pods: Vec::new(), servers: Vec::new() };
        for (index, name) in names.iter().enumerate() {
            let builder = mesh.node.pod(NAMESPACE, name);
            let builder = if index % 2 == 1 { builder.label(LABEL, "none") } else { builder };
            webs.add(builder.start().unwrap());
        }
        webs
    }

    fn add(&mut self, pod: Pod) {
        self.servers.push(pod.serve(Mode::Http, PORT).unwrap());
        self.pods.push(pod);
    }

    fn pod(&self, name: &str) -> &Pod {
        self.pods.iter().find(|pod| pod.name() == name).unwrap()
    }

    /// In the states of which `millstream services` speaks.
    fn endpoints(&self, states: &[(&str, &str)]) -> Vec<Endpoint> {
        let endpoint = |&(name, state): &(&str, &str)| match state {
            "ready" => Endpoint::ready(self.pod(name)),
            "terminating" => Endpoint::terminating(self.pod(name)),
            _ => Endpoint::not_ready(self.pod(name)),
        };
        states.iter().map(endpoint).collect()
    }
}

/// Waits until the agent knows just these endpoints.
#[track_caller]
fn await_endpoints(mesh: &Mesh, expected: &[(&str, &str)]) {
    let expected: BTreeSet<_> =
        expected.iter().map(|(pod, state)| (format!("{NAMESPACE}/{pod}"), (*state).to_owned())).collect();
    let known = || -> BTreeSet<_> {
        let services = services(mesh);
        let endpoints = services.iter().flat_map(|row| row["endpoints"].as_array().unwrap());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        endpoints.map(|endpoint| (text(&endpoint["pod"]), text(&endpoint["state"]))).collect()
    };
    wait_for(|| !services(mesh).is_empty() && known() == expected);
}

fn services(mesh: &Mesh) -> Vec<Value> {
    mesh.agent.json(&["services"]).unwrap().as_array().unwrap().clone()
}

/// Who answers when many connections are made.
#[track_caller]
fn takers(client: &Pod, addr: SocketAddr) -> Vec<String> {
    let answers = (0..MANY).map(|_| ask(connect(client, addr).unwrap()).unwrap());
    answers.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The name of the pod at the other end.
fn ask(mut stream: TcpStream) -> io::Result<String> {
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let body = response.split("\r\n\r\n").nth(1).unwrap_or_default();
    Ok(body.split(':').next().unwrap_or_default().to_owned())
}

/// Expects a reset, and a record that says why.
#[track_caller]
fn refused(mesh: &Mesh, client: &Pod, addr: SocketAddr, reason: &str) {
    let records = || {
        let records = mesh.records().into_iter();
        records.filter(|r| r["reason"] == reason && r["dst.addr"] == addr.to_string()).collect::<Vec<_>>()
    };
    let before = records().len();
    let error = connect(client, addr).and_then(ask).unwrap_err();
    assert!([ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind()), "{addr}: {error}");
    wait_for(|| records().len() == before + 1);
    let service = records().remove(before).get("dst.service").cloned();
    // Of an address that is no service, none is named.
    assert_eq!(service, (reason != "unreachable").then(|| "shop/web".into()), "{addr}: {reason}");
}

/// The first access record of a connection that was dialled there.
#[track_caller]
fn record_of(mesh: &Mesh, addr: SocketAddr) -> Value {
    let find = || mesh.records().into_iter().find(|record| record["dst.addr"] == addr.to_string());
    wait_for(|| find().is_some());
    find().unwrap()
}
