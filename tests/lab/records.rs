//! One access record per connection, whatever ends it; draining, reloading, and what is shown meanwhile.

use std::{
    fs,
    io::{ErrorKind, Read},
    net::{SocketAddr, TcpStream},
    os::unix::fs::symlink,
    time::Duration,
};

use harness::{Agent, Pod};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::{
    mesh::{Mesh, NAMESPACE, dial, echo},
    road::{PATIENCE, Pair, Road, Roads, carry, reset, rest},
    steering::wait_for,
};

/// How a connection ends, and what its record says then: the reason, and the bytes sent and received.
struct Ending {
    name: &'static str,
    end: fn(Pair),
    record: (&'static str, u64, u64),
}

const ENDINGS: [Ending; 5] = [
    Ending {
        name: "both ends finish",
        end: |Pair { name, client, server }| {
            carry(&client, &server, b"hello", &name);
            carry(&server, &client, b"bye", &name);
            drop(client);
            assert_eq!(rest(&server, &name), b"");
        },
        record: ("closed", 5, 3),
    },
    Ending {
        name: "nothing was ever said",
        end: |Pair { name, client, server }| {
            drop(server);
            assert_eq!(rest(&client, &name), b"");
        },
        record: ("closed", 0, 0),
    },
    Ending {
        name: "the client resets",
        end: |Pair { name, client, server }| {
            carry(&client, &server, b"hello", &name);
            reset(client);
            broken(&server, &name);
        },
        record: ("client-reset", 5, 0),
    },
    Ending {
        name: "the server resets",
        end: |Pair { name, client, server }| {
            carry(&server, &client, b"hello", &name);
            reset(server);
            broken(&client, &name);
        },
        record: ("server-reset", 0, 5),
    },
    Ending {
        name: "idle for too long",
        end: |Pair { name, client, server }| {
            broken(&client, &name);
            broken(&server, &name);
        },
        record: ("idle-timeout", 0, 0),
    },
];

#[test]
fn a_connection_leaves_one_record_whatever_ends_it() {
    let mut mesh = Mesh::configured("records", "proxy: {idle-timeout: 2s}");
    let road = Road { name: "one node", client: mesh.pod("client"), server: mesh.pod("server") };
    let mut expected = Vec::new();
    for ip in road.server.ips() {
        for Ending { name, end, record } in ENDINGS {
            let pair = road.connect(ip);
            let client = pair.client.local_addr().unwrap();
            end(Pair { name: format!("{}, {name}", pair.name), ..pair });
            expected.push((name, client, record));
        }
    }
    expected.push(("the server refuses", refused_by_server(&road), ("connect-refused", 0, 0)));
    expected.push(("the client is killed", kill_client(&road), ("closed", 6, 6)));

    // Once it has ended, there is nothing that could still write one.
    assert!(mesh.agent.terminate().unwrap().success());
    let records = mesh.records();
    for (name, client, (reason, sent, received)) in &expected {
        let own: Vec<_> = records.iter().filter(|record| record["src.addr"] == client.to_string()).collect();
        let [record] = own[..] else { panic!("{name}: {} records", own.len()) };
        assert_eq!(record["reason"], *reason, "{name}: {record}");
        assert_eq!(record["bytes_sent"], *sent, "{name}: {record}");
        assert_eq!(record["bytes_received"], *received, "{name}: {record}");
    }
    assert_eq!(records.len(), expected.len(), "records of connections that nobody made: {records:?}");
}

/// Nobody listens where it is dialled; the address of the client.
fn refused_by_server(road: &Road) -> SocketAddr {
    let attempt = road.client.exec(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // To know the address even if the reset is there before `connect` returns.
        socket.bind(&SocketAddr::from((road.client.v4(), 0)).into()).unwrap();
        let local = socket.local_addr().unwrap();
        let ended = socket.connect(&SocketAddr::from((road.server.v4(), 9)).into());
        (local, ended.and_then(|()| (&socket).read(&mut [0])))
    });
    let (local, ended) = attempt.unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
    local.as_socket().unwrap()
}

/// The kernel closes what the process had open; the address of the client.
fn kill_client(road: &Road) -> SocketAddr {
    let mut server = echo(&road.server, 7);
    let (mut client, local) = dial(&road.client, (road.server.v4(), 7), &[]);
    client.ping("hello").unwrap();
    drop(client);
    server.closed().unwrap();
    local
}

#[test]
fn table_and_record_tell_where_a_connection_went() {
    let roads = Roads::new("where");
    let road = roads.all.iter().find(|road| road.name == "a proxy on each node").unwrap();
    let (client, server) = (&road.client, &road.server);
    let builder = roads.mesh.lab.service(NAMESPACE, "web").port("echo", 80, 7_u16);
    let service = builder.endpoints(&[server]).apply().unwrap();
    wait_for(|| roads.mesh.agent.cli(&["services"]).unwrap().any_stdout().contains("shop/far"));
    let _listening = echo(server, 7);
    let (vip, endpoint) = (service.v4_addr(80), SocketAddr::from((server.v4(), 7)));
    let (mut connection, local) = dial(client, vip, &[]);
    connection.ping("hello").unwrap();

    let (near, far) = (&roads.mesh.agent, &roads.far_agent);
    let out = only(connections(near));
    let inbound = only(connections(far));
    let name = |pod: &Pod| json!({"namespace": NAMESPACE, "name": pod.name()});
    for (row, field, value) in [
        (&out, "direction", json!("outbound")),
        (&out, "stage", json!("copy")),
        (&out, "client", json!(local)),
        (&out, "original_dst", json!(vip)),
        (&out, "upstream", json!(endpoint)),
        (&out, "client_workload", name(client)),
        (&out, "upstream_workload", name(server)),
        (&out, "service", json!({"namespace": NAMESPACE, "name": "web"})),
        (&out, "bytes_sent", json!(6)),
        (&out, "bytes_received", json!(6)),
        (&inbound, "direction", json!("inbound")),
        (&inbound, "original_dst", json!(endpoint)),
        (&inbound, "client_workload", name(client)),
        (&inbound, "upstream_workload", name(server)),
    ] {
        assert_eq!(row[field], value, "{field} of {row}");
    }
    assert!(records(near).is_empty() && records(far).is_empty(), "a record before the end");

    connection.finish().unwrap().stdout().unwrap();
    wait_for(|| !records(near).is_empty() && !records(far).is_empty());
    let (out, inbound) = (only(records(near)), only(records(far)));
    for (record, field, value) in [
        (&out, "src.addr", json!(local)),
        (&out, "src.workload", json!("shop/client")),
        (&out, "dst.addr", json!(vip)),
        (&out, "dst.service", json!("shop/web")),
        (&out, "dst.workload", json!("shop/far")),
        (&out, "upstream.addr", json!(endpoint)),
        (&out, "direction", json!("outbound")),
        (&out, "stage", json!("copy")),
        (&out, "bytes_sent", json!(6)),
        (&out, "bytes_received", json!(6)),
        (&out, "reason", json!("closed")),
        (&inbound, "src.workload", json!("shop/client")),
        (&inbound, "dst.addr", json!(endpoint)),
        (&inbound, "dst.workload", json!("shop/far")),
        (&inbound, "direction", json!("inbound")),
        (&inbound, "reason", json!("closed")),
    ] {
        assert_eq!(record[field], value, "{field} of {record}");
    }
    assert!(out["duration"].is_string() && out.get("error").is_none(), "{out}");
    assert!(connections(near).is_empty() && connections(far).is_empty(), "still listed after the end");
}

#[test]
fn after_sigterm_connections_may_finish_and_no_new_one_is_accepted() {
    let mut mesh = Mesh::labelled("sigterm");
    let road = Road { name: "one node", client: mesh.pod("client"), server: mesh.pod("server") };
    let Pair { name, client, server } = road.connect(road.server.v4().into());
    carry(&client, &server, b"before", &name);
    mesh.agent.begin_termination().unwrap();
    let addr = SocketAddr::from((road.server.v4(), 9));
    // A SYN that is on its way just then is lost, and nobody says so: the kernel has no RST to send from an address that
    // is not the pod's.
    let connect = || road.client.exec(|| TcpStream::connect_timeout(&addr, Duration::from_secs(2))).unwrap();
    wait_for(|| connect().is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused));
    carry(&client, &server, b"meanwhile", &name);
    carry(&server, &client, b"meanwhile", &name);
    drop(client);
    assert_eq!(rest(&server, &name), b"");
    drop(server);
    assert!(mesh.agent.wait_for_end(PATIENCE).unwrap().success());
    let reasons: Vec<_> = mesh.records().into_iter().map(|record| record["reason"].clone()).collect();
    assert!(reasons.contains(&json!("closed")) && !reasons.contains(&json!("drain-deadline")), "{reasons:?}");
}

#[test]
fn what_outlasts_its_time_is_reset_with_the_reason() {
    let config = "drain: {shutdown: 500ms, release: 500ms, linger: 100ms}";
    let mut mesh = Mesh::configured("deadline", config);
    let road = Road { name: "one node", client: mesh.pod("client"), server: mesh.pod("server") };
    for reason in ["released", "drain-deadline"] {
        let Pair { name, client, server } = road.connect(road.server.v4().into());
        let local = client.local_addr().unwrap().to_string();
        carry(&client, &server, b"hello", &name);
        if reason == "released" {
            mesh.label(None);
            mesh.agent.wait_released(&road.client).unwrap();
            mesh.label(Some("ambient"));
            mesh.agent.wait_captured(&road.client).unwrap();
        } else {
            assert!(mesh.agent.terminate().unwrap().success());
        }
        broken(&client, &name);
        broken(&server, &name);
        let own: Vec<_> = mesh.records().into_iter().filter(|r| r["src.addr"] == *local).collect();
        let record = only(own);
        assert_eq!(record["reason"], reason, "{record}");
        assert_eq!(record["bytes_sent"], 5, "{record}");
    }
}

#[test]
fn sighup_rereads_what_nobody_announced() {
    let mesh = Mesh::labelled("sighup");
    // The watched folder has a link only: a change of the file behind it is seen by nobody.
    let file = mesh.node.run_dir().with_file_name("service.yaml");
    let write = |name: &str| {
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": NAMESPACE, "name": name},
            "spec": {"clusterIP": "10.96.77.77", "ports": [{"port": 80}]},
        });
        fs::write(&file, manifest.to_string()).unwrap();
    };
    let known = |name: &str| {
        let services = mesh.agent.json(&["services"]).unwrap();
        services.as_array().unwrap().iter().any(|service| service["name"] == name)
    };
    write("before");
    symlink(&file, mesh.lab.manifests().join("service.yaml")).unwrap();
    wait_for(|| known("before"));
    write("after");
    mesh.agent.sighup().unwrap();
    wait_for(|| known("after") && !known("before"));
}

#[test]
fn records_can_be_switched_off_and_on() {
    let mesh = Mesh::labelled("muted");
    let road = Road { name: "one node", client: mesh.pod("client"), server: mesh.pod("server") };
    let mut recorded = Vec::new();
    for (ended, (filter, is_recorded)) in
        (1..).zip([("info", true), ("info,access=off", false), ("info", true)])
    {
        mesh.agent.cli(&["log", filter]).unwrap().stdout().unwrap();
        let pair = road.connect(road.server.v4().into());
        if is_recorded {
            recorded.push(json!(pair.client.local_addr().unwrap()));
        }
        drop(pair);
        wait_for(|| mesh.ended("closed") == ended);
    }
    let sources = || mesh.records().iter().map(|record| record["src.addr"].clone()).collect::<Vec<_>>();
    wait_for(|| sources().len() >= recorded.len());
    assert_eq!(sources(), recorded);
    assert_eq!(mesh.agent.cli(&["log", "access=whisper"]).unwrap().code(), Some(2));
}

/// Expects that the other end, or the proxy, resets.
#[track_caller]
fn broken(mut stream: &TcpStream, what: &str) {
    let error = stream.read(&mut [0]).expect_err(what);
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}");
}

#[track_caller]
fn only(mut all: Vec<Value>) -> Value {
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn connections(agent: &Agent) -> Vec<Value> {
    agent.json(&["connections"]).unwrap().as_array().unwrap().clone()
}

fn records(agent: &Agent) -> Vec<Value> {
    let log = agent.log().unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["target"] == "access").collect()
}
