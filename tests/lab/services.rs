//! Which endpoint of a service takes a connection, and when none does.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use harness::{AgentOptions, Endpoint, Mode, Pod, Server};

use crate::{
    mesh::{Mesh, NAMESPACE, dial},
    road::connect,
    steering::wait_for,
};

/// Where the pods of a test serve HTTP, unless it says otherwise.
const PORT: u16 = 8080;

#[test]
fn a_vip_leads_to_the_target_port_by_number_and_by_name() {
    let mesh = Mesh::labelled("target");
    let client = mesh.pod("client");
    // The same name is another number in each pod.
    let webs: Vec<_> = [("web1", 8081), ("web2", 8082)]
        .map(|(name, number)| mesh.node.pod(NAMESPACE, name).port("http", number).start().unwrap())
        .into();
    let _servers: Vec<_> = webs
        .iter()
        .zip([8081, 8082])
        .flat_map(|(pod, named)| [PORT, named].map(|port| pod.serve(Mode::Http, port).unwrap()))
        .collect();
    let builder = mesh.lab.service(NAMESPACE, "web").port("number", 80, PORT).port("name", 81, "http");
    let service = builder.endpoints(&[&webs[0], &webs[1]]).apply().unwrap();
    endpoints_are(&mesh, "web", &[("web1", "ready"), ("web2", "ready")]);
    for addr in [service.v4_addr(80), service.v6_addr(80), service.v4_addr(81), service.v6_addr(81)] {
        let answers = tally(&client, addr, 64);
        assert_eq!(names(&answers), ["web1", "web2"], "{addr}: {answers:?}");
    }
}

#[test]
fn only_ready_endpoints_get_traffic_and_terminating_ones_when_no_other_is_left() {
    let mesh = Mesh::labelled("ready");
    let client = mesh.pod("client");
    let (webs, _servers) = webs(&mesh, &["web1", "web2", "web3", "web4"]);
    let [a, b, c, d] = [0, 1, 2, 3].map(|i: usize| &webs[i]);
    let mut service = mesh.lab.service(NAMESPACE, "web").port("http", 80, PORT).apply().unwrap();
    for (case, endpoints, takers) in [
        (
            "several are ready",
            vec![Endpoint::ready(a), Endpoint::ready(b), Endpoint::not_ready(c), Endpoint::terminating(d)],
            &["web1", "web2"][..],
        ),
        ("one is ready", vec![Endpoint::not_ready(a), Endpoint::ready(b), Endpoint::terminating(c)], &["web2"]),
        (
            "none is",
            vec![Endpoint::not_ready(a), Endpoint::terminating(c), Endpoint::terminating(d)],
            &["web3", "web4"],
        ),
    ] {
        let states = |e: &Endpoint| state_of(e, &webs);
        let expected: Vec<_> = endpoints.iter().map(states).collect();
        service.set_endpoints(endpoints).unwrap();
        endpoints_are(&mesh, "web", &expected);
        let answers = tally(&client, service.v4_addr(80), 64);
        assert_eq!(names(&answers), takers, "{case}: {answers:?}");
    }
}
