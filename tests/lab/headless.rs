//! Headless services: the client chooses the pod, by its address or its name, and the connection is the service's.

use std::net::{IpAddr, SocketAddr};

use harness::{Endpoint, Mode, Pod, Server, Service};
use serde_json::json;

use crate::{
    dns::Names,
    mesh::{Mesh, NAMESPACE, dial, echo},
    service_entries::record_of,
    steering::wait_for,
};

const PORT: u16 = 8080;
const DB: &str = "db.shop.svc.cluster.local";

/// Pods of a StatefulSet, and what `millstream services` says of them.
struct Set {
    pods: Vec<Pod>,
    service: Service,
    _serving: Vec<Server>,
}

impl Set {
    fn start(mesh: &Mesh) -> Self {
        let start = |name: &str| mesh.node.pod(NAMESPACE, name).hostname(name, "db").start().unwrap();
        let pods: Vec<_> = ["db-0", "db-1", "db-2"].map(start).into();
        let service = mesh.lab.service(NAMESPACE, "db").headless().port("http", PORT, PORT).apply().unwrap();
        let _serving = pods.iter().map(|pod| pod.serve(Mode::Http, PORT).unwrap()).collect();
        Self { pods, service, _serving }
    }

    /// The first so many are ready.
    fn ready(&mut self, mesh: &Mesh, ready: usize) {
        let endpoint = |(index, pod): (usize, &Pod)| match index < ready {
            true => Endpoint::ready(pod),
            false => Endpoint::not_ready(pod),
        };
        self.service.set_endpoints(self.pods.iter().enumerate().map(endpoint).collect()).unwrap();
        let states = || {
            let services = mesh.agent.json(&["services"]).unwrap();
            let db = services.as_array().unwrap().iter().find(|service| service["name"] == "db").cloned();
            let endpoints = db.map(|db| db["endpoints"].as_array().unwrap().clone()).unwrap_or_default();
            let of = |state| endpoints.iter().filter(|endpoint| endpoint["state"] == state).count();
            (of("ready"), of("not ready"))
        };
        // Each has an address of both families.
        let expected = (2 * ready, 2 * (self.pods.len() - ready));
        wait_for(|| states() == expected || states() == (ready, self.pods.len() - ready));
    }

    /// Sorted, as dig tells them.
    fn answer(&self, family: usize, ready: usize) -> Vec<String> {
        let mut all: Vec<_> = self.pods[..ready].iter().map(|pod| told(pod.ips()[family])).collect();
        all.sort();
        all
    }
}

fn told(ip: IpAddr) -> String {
    format!("{} {ip}", if ip.is_ipv4() { "A" } else { "AAAA" })
}

#[test]
fn a_headless_service_is_answered_with_the_ready_ones_and_each_of_them_by_its_name() {
    let names = Names::new("set");
    let mut set = Set::start(&names.mesh);
    let resolver = IpAddr::from(names.resolver.v4());
    for ready in [3, 1, 2] {
        set.ready(&names.mesh, ready);
        for (family, record_type) in ["A", "AAAA"].into_iter().enumerate() {
            for name in [DB, "db.shop", "db.shop.svc"] {
                let answer = names.dig(resolver, &[name, record_type]);
                let mut answer: Vec<_> = answer.split("; ").map(str::to_owned).collect();
                answer.sort();
                assert_eq!(answer, set.answer(family, ready), "{name} {record_type}");
            }
            for (index, pod) in set.pods.iter().enumerate() {
                let answer = names.dig(resolver, &[&format!("{}.{DB}", pod.name()), record_type]);
                // Of one that is not ready the mesh knows nothing, and the resolver denies it.
                let expected = if index < ready { told(pod.ips()[family]) } else { "NXDOMAIN".to_owned() };
                assert_eq!(answer, expected, "{} of {ready}", pod.name());
            }
        }
    }
    set.ready(&names.mesh, 0);
    assert_eq!(names.dig(resolver, &[DB, "A"]), "NXDOMAIN", "none is ready: the resolver is asked");
}

#[test]
fn a_pod_is_dialled_by_its_name_and_the_connection_is_the_services() {
    let names = Names::new("ordinal");
    let mut set = Set::start(&names.mesh);
    set.ready(&names.mesh, 3);
    for pod in &set.pods {
        for (name, family) in [
            (format!("{}.db", pod.name()), "--ipv4"),
            (format!("{}.db", pod.name()), "--ipv6"),
            (format!("{}.db.shop", pod.name()), "--ipv4"),
            (format!("{}.{DB}", pod.name()), "--ipv6"),
        ] {
            let url = format!("http://{name}:{PORT}/");
            let said = names.client.run(&["curl", "--silent", "--show-error", family, &url]).unwrap();
            assert!(said.stdout().unwrap().starts_with(&format!("{}:", pod.name())), "{url}: {said:?}");
        }
        for ip in pod.ips() {
            let record = record_of(&names.mesh, SocketAddr::new(ip, PORT));
            assert_eq!(record["dst.service"], "shop/db", "{record}");
            assert_eq!(record["dst.workload"], *pod.full_name(), "{record}");
        }
    }
    let why = names.mesh.ask(&["why", &names.client.full_name(), &format!("db-1.db:{PORT}")]);
    assert_eq!(why["verdict"], "proxied", "{why}");
    assert!(why.to_string().contains("of service shop/db"), "{why}");

    let listeners = names.mesh.ask(&["maps", "listeners"]);
    let rows = listeners.as_array().unwrap().iter().filter(|row| row["service"] == "db");
    let mut found: Vec<_> =
        rows.map(|row| (row["kind"].clone(), row["address"].clone(), row["port"].clone())).collect();
    let ips = set.pods.iter().flat_map(Pod::ips);
    let mut expected: Vec<_> = ips.map(|ip| (json!("headless"), json!(ip), json!(PORT))).collect();
    for list in [&mut found, &mut expected] {
        list.sort_by_key(|row| row.1.to_string());
    }
    assert_eq!(found, expected);
}

#[test]
fn a_port_that_the_service_does_not_declare_is_the_pods_alone() {
    let names = Names::new("undeclared");
    let mut set = Set::start(&names.mesh);
    set.ready(&names.mesh, 3);
    let _listening = echo(&set.pods[0], 7);
    let addr = SocketAddr::from((set.pods[0].v4(), 7));
    let (mut connection, _) = dial(&names.client, addr, &[]);
    connection.ping("hello").unwrap();
    connection.finish().unwrap();
    let record = record_of(&names.mesh, addr);
    assert_eq!(record["dst.workload"], "shop/db-0", "{record}");
    assert!(record.get("dst.service").is_none(), "{record}");
}

#[test]
fn a_pod_of_two_headless_services_is_the_first_ones_by_name_and_answers_to_both() {
    let names = Names::new("shared");
    let mut set = Set::start(&names.mesh);
    set.ready(&names.mesh, 3);
    let builder = names.mesh.lab.service(NAMESPACE, "alternative").headless().port("http", PORT, PORT);
    let _alternative = builder.endpoints(&[&set.pods[0]]).apply().unwrap();
    names.wait_for_service("alternative");
    let resolver = names.resolver.v4().into();
    let own = told(set.pods[0].v4().into());
    assert_eq!(names.dig(resolver, &["alternative.shop", "A"]), own);
    assert!(names.dig(resolver, &["db.shop", "A"]).contains(&own));
    let said = names.client.run(&["curl", "--silent", "--ipv4", &format!("http://db-0.db:{PORT}/")]).unwrap();
    assert!(said.stdout().unwrap().starts_with("db-0:"));
    let record = record_of(&names.mesh, (set.pods[0].v4(), PORT).into());
    assert_eq!(record["dst.service"], "shop/alternative", "{record}");
}
