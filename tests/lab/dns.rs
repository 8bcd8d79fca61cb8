//! Who answers a captured pod's DNS queries, and with what. The resolver is a dnsmasq in a pod outside the mesh.

use std::net::{IpAddr, Ipv4Addr};

use harness::{Pod, Process, Service};

use crate::{
    mesh::{Mesh, NAMESPACE},
    steering::wait_for,
};

mod capture;
mod clients;
mod flood;
mod message;
mod replies;
mod servers;

pub(crate) const OUTSIDE: &str = "outside";
/// The service, and what the resolver says of it.
const WEB: &str = "web.shop.svc.cluster.local";
pub(crate) const RESOLVERS_OWN: &str = "A 192.0.2.66";

/// A client of a resolver, and a service.
pub(crate) struct Names {
    pub(crate) mesh: Mesh,
    pub(crate) client: Pod,
    pub(crate) resolver: Pod,
    pub(crate) web: Service,
    /// Who serves it.
    pub(crate) server: Pod,
    pub(crate) dnsmasq: Option<Process>,
}

/// What the resolver knows.
pub(crate) const RECORDS: &[&str] = &[
    "--host-record=www.example.com,192.0.2.80,2001:db8::80",
    "--host-record=web.shop.svc.cluster.local,192.0.2.66",
    "--txt-record=txt.example.com,hello",
    "--srv-host=_http._tcp.web.shop.svc.cluster.local,web.shop.svc.cluster.local,80",
    "--edns-packet-max=4096",
    // Of the cluster it knows nothing else, and says so.
    "--local=/cluster.local/",
];

impl Names {
    pub(crate) fn new(name: &str) -> Self {
        Self::of(Mesh::labelled(name))
    }

    pub(crate) fn of(mesh: Mesh) -> Self {
        let resolver = mesh.node.pod(OUTSIDE, "resolver").start().unwrap();
        // More than a datagram takes without EDNS, or with what is usual.
        let strings = ",The quick brown fox jumps over the lazy dog. Again.".repeat(30);
        let big = format!("--txt-record=big.example.com{strings}");
        let dnsmasq = resolver.resolve(&[RECORDS, &[&*big]].concat()).unwrap();
        let client = mesh.node.pod(NAMESPACE, "client").resolver(resolver.v4().into()).start().unwrap();
        let server = mesh.node.pod(NAMESPACE, "web").start().unwrap();
        let web = mesh.lab.service(NAMESPACE, "web").port("http", 80, 8080).endpoints(&[&server]);
        let web = web.apply().unwrap();
        mesh.agent.wait_captured(&client).unwrap();
        let names = Self { mesh, client, resolver, web, server, dnsmasq: Some(dnsmasq) };
        names.wait_for_service("web");
        names
    }

    pub(crate) fn wait_for_service(&self, name: &str) {
        let known = || self.mesh.agent.json(&["services"]).unwrap();
        wait_for(|| known().as_array().unwrap().iter().any(|service| service["name"] == name));
    }

    /// The answers, one a line, or the status in capitals.
    pub(crate) fn dig(&self, server: IpAddr, args: &[&str]) -> String {
        dig(&self.client, server, args)
    }
}

pub(crate) fn dig(client: &Pod, server: IpAddr, args: &[&str]) -> String {
    let server = format!("@{server}");
    let args: Vec<&str> =
        ["dig", "+nocookie", "+time=3", "+tries=1", "+noall", "+comments", "+answer", &server]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
    let output = client.run(&args).unwrap();
    let text = output.any_stdout();
    let answers: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with(';') && !line.is_empty())
        .map(|line| line.split_whitespace().skip(3).collect::<Vec<_>>().join(" "))
        .collect();
    let status = text.lines().find_map(|line| line.split_once("status: ")?.1.split_once(','));
    match (status, answers.is_empty()) {
        (None, _) => format!("no reply: {}", text.trim()),
        (Some((status, _)), true) => status.to_owned(),
        (Some(_), false) => answers.join("; "),
    }
}

/// How many queries came to that.
fn counted(mesh: &Mesh, outcome: &str) -> u64 {
    let series = format!("millstream_dns_queries_total{{outcome=\"{outcome}\"}} ");
    let page = mesh.agent.metrics().unwrap();
    let value = page.lines().find_map(|line| line.strip_prefix(&series));
    value.unwrap_or_else(|| panic!("no {series} in {page}")).parse().unwrap()
}

#[test]
fn a_name_of_the_mesh_is_answered_whatever_the_resolver_says_and_every_other_name_by_it() {
    let mut names = Names::new("dnsnames");
    let resolver = IpAddr::from(names.resolver.v4());
    let nobody = IpAddr::from(Ipv4Addr::new(203, 0, 113, 53));
    let (v4, v6) = (format!("A {}", names.web.v4), format!("AAAA {}", names.web.v6));
    for (case, server, query, expected) in [
        ("a service", resolver, &["web.shop.svc.cluster.local", "A"][..], &*v4),
        ("a service, IPv6", resolver, &["web.shop.svc.cluster.local", "AAAA"], &v6),
        ("a service, over TCP", resolver, &["+tcp", "web.shop.svc.cluster.local", "A"], &v4),
        ("a service, by its short name", resolver, &["web.shop", "A"], &v4),
        ("a service, by a single label", resolver, &["web", "A"], &v4),
        ("a service, asking somebody who is not there", nobody, &["web.shop.svc.cluster.local", "A"], &v4),
        (
            "a service, asking over IPv6",
            names.resolver.v6().into(),
            &["web.shop.svc.cluster.local", "A"],
            &v4,
        ),
        ("a name outside", resolver, &["www.example.com", "A"], "A 192.0.2.80"),
        ("a name outside, over TCP", resolver, &["+tcp", "www.example.com", "AAAA"], "AAAA 2001:db8::80"),
        (
            "a name outside, asking over IPv6",
            names.resolver.v6().into(),
            &["www.example.com", "A"],
            "A 192.0.2.80",
        ),
        ("text", resolver, &["txt.example.com", "TXT"], "TXT \"hello\""),
        (
            "what a service has of other records",
            resolver,
            &["_http._tcp.web.shop.svc.cluster.local", "SRV"],
            "SRV 0 0 80 web.shop.svc.cluster.local.",
        ),
        ("a name that nobody has", resolver, &["nobody.example.com", "A"], "REFUSED"),
    ] {
        assert_eq!(names.dig(server, query), expected, "{case}");
    }
    names.dnsmasq = None;
    assert_eq!(names.dig(resolver, &["web.shop.svc.cluster.local", "A"]), v4, "the resolver is gone");
    let said = names.dig(resolver, &["www.example.com", "A"]);
    assert!(said.contains("connection refused"), "of a name outside it is the only one to know: {said}");
}
