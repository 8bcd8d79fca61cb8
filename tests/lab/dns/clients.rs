//! The resolvers that real programs have, with what the kubelet writes into a pod's `/etc/resolv.conf`: a search list, and
//! `ndots:5`, so that nearly every name is looked for in the cluster first.

use std::{env, net::IpAddr, time::Duration};

use harness::{Mode, Pod};
use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolveHosts},
    net::runtime::TokioRuntimeProvider,
    system_conf::parse_resolv_conf,
};

use super::{Names, message};

const PORT: u16 = 8080;
/// The standard library too, the first time.
const BUILDING: Duration = Duration::from_secs(300);
/// Where its packages are unpacked.
const SYSTEMD_RESOLVED: &str = "SYSTEMD_RESOLVED";

/// A service, one of another namespace, and a name outside, as programs spell them; who has each.
fn spellings(names: &Names, other: [IpAddr; 2]) -> Vec<(&'static str, [IpAddr; 2])> {
    let web = [names.web.v4.into(), names.web.v6.into()];
    let www = ["192.0.2.80".parse().unwrap(), "2001:db8::80".parse().unwrap()];
    vec![
        ("web", web),
        ("web.shop", web),
        ("web.shop.svc", web),
        ("web.shop.svc.cluster.local", web),
        ("web.shop.svc.cluster.local.", web),
        ("WEB.Shop", web),
        ("api.other", other),
        ("www.example.com", www),
        ("www.example.com.", www),
    ]
}

/// What a way of asking gets for each spelling, sorted.
#[track_caller]
fn each_finds(names: &Names, way: &str, find: impl Fn(&str) -> Vec<IpAddr>) {
    let other = names.mesh.lab.service("other", "api").port("http", 80, PORT).apply().unwrap();
    names.wait_for_service("api");
    for (name, addresses) in spellings(names, [other.v4.into(), other.v6.into()]) {
        let mut found = find(name);
        found.sort();
        assert_eq!(found, addresses, "{way}: {name}");
    }
    assert_eq!(find("nobody"), [] as [IpAddr; 0], "{way}: a name that nobody has");
}

/// Of lines that begin with an address, or end with one.
fn addresses_in(text: &str) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> =
        text.lines().flat_map(str::split_whitespace).filter_map(|word| word.parse().ok()).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn the_c_librarys_resolver_finds_names_by_its_search_list() {
    let names = Names::new("glibc");
    let find = |name: &str| addresses_in(names.client.run(&["getent", "ahosts", name]).unwrap().any_stdout());
    each_finds(&names, "getaddrinfo", find);
}

/// Alpine's: of every name it asks for both families at once, and of a search list it gives up at the first failure that
/// is no denial.
#[test]
fn musls_resolver_finds_names_by_its_search_list() {
    let names = Names::new("musl");
    let find = built(&names, &["musl-gcc", "-static"], "musl.c");
    each_finds(&names, "musl's getaddrinfo", find);
}

/// Without cgo: the one in most images, for they have no C library.
#[test]
fn gos_resolver_finds_names_by_its_search_list() {
    let names = Names::new("golang");
    let find = built(&names, &["env", "CGO_ENABLED=0", "go", "build"], "lookup.go");
    each_finds(&names, "Go's LookupHost", find);
}

/// Most distributions' on nodes and in virtual machines. To it a name without a dot is one for its search list alone.
#[test]
fn systemd_resolved_finds_names_by_its_search_list() {
    let names = Names::new("resolved");
    let unpacked = env::var(SYSTEMD_RESOLVED).unwrap_or_else(|_| {
        panic!(
            "{SYSTEMD_RESOLVED} does not say where systemd-resolved is unpacked: run `cargo xtask test lab`"
        )
    });
    let script = format!("{}/lab/dns/resolved.sh", env!("CARGO_MANIFEST_DIR"));
    let folder = names.mesh.node.run_dir();
    let ask = ["unshare", "--mount", "sh", &script, &unpacked, folder.to_str().unwrap()];
    let find = |name: &str| {
        let output = names.client.run(&[&ask[..], &[name]].concat()).unwrap();
        addresses_in(output.stdout().unwrap())
    };
    each_finds(&names, "systemd-resolved", find);
}

/// Builds a program that prints what it finds, and runs it in the client's pod.
fn built(names: &Names, compiler: &[&str], source: &str) -> impl Fn(&str) -> Vec<IpAddr> {
    let program = names.mesh.node.run_dir().with_file_name("lookup");
    let program = program.to_str().unwrap().to_owned();
    let source = format!("{}/lab/dns/{source}", env!("CARGO_MANIFEST_DIR"));
    let build = [compiler, &["-o", &program, &source]].concat();
    names.mesh.node.run_for(BUILDING, &build).unwrap().stdout().unwrap();
    let client = names.client.clone();
    move |name| addresses_in(client.run(&[&*program, name]).unwrap().any_stdout())
}

#[test]
fn dig_finds_names_by_its_search_list() {
    let names = Names::new("digsearch");
    let of_family = |name: &str, family| {
        let output = names.client.run(&["dig", "+search", "+short", "+tries=1", name, family]).unwrap();
        addresses_in(output.any_stdout())
    };
    each_finds(&names, "dig", |name| [of_family(name, "A"), of_family(name, "AAAA")].concat());
}

#[test]
fn rusts_resolver_finds_names_by_its_search_list_both_families_at_once() {
    let names = Names::new("hickory");
    each_finds(&names, "hickory-resolver", |name| hickory(&names.client, name));
}

/// On this thread, inside the pod.
fn hickory(client: &Pod, name: &str) -> Vec<IpAddr> {
    let written = client.run(&["cat", "/etc/resolv.conf"]).unwrap();
    let (config, mut options) = parse_resolv_conf(written.stdout().unwrap()).unwrap();
    assert_eq!(options.ndots, 5);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    let looked_up = client.exec(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            let resolver = builder.with_options(options).build().unwrap();
            resolver.lookup_ip(name).await
        })
    });
    looked_up.unwrap().map(|found| found.iter().collect()).unwrap_or_default()
}

/// As musl's does: every resolver, and both families, by one socket that is bound to none of them. It takes a reply only
/// from an address that it has asked.
#[test]
fn one_socket_asks_several_resolvers_for_both_families_and_each_replies_from_its_own_address() {
    use hickory_resolver::proto::rr::RecordType;

    let names = Names::new("onesocket");
    let second = names.mesh.node.pod("outside", "second").start().unwrap();
    let _second = second.resolve(super::RECORDS).unwrap();
    for family in 0..2 {
        let resolvers = [names.resolver.ips()[family], second.ips()[family]];
        let socket = message::socket(&names.client, resolvers[0]);
        let mut expected = Vec::new();
        for (number, resolver) in (0..).zip(resolvers) {
            for (id, name, record_type, address) in [
                (1, super::WEB, RecordType::A, IpAddr::from(names.web.v4)),
                (2, super::WEB, RecordType::AAAA, names.web.v6.into()),
                (3, "www.example.com", RecordType::A, "192.0.2.80".parse().unwrap()),
                (4, "www.example.com", RecordType::AAAA, "2001:db8::80".parse().unwrap()),
            ] {
                let id = number * 0x100 + id;
                let query = message::query(id, name, record_type).to_vec().unwrap();
                socket.send_to(&query, (resolver, message::PORT)).unwrap();
                expected.push((id, resolver, message::PORT, vec![address]));
            }
        }
        let mut replies: Vec<_> = expected
            .iter()
            .map(|_| {
                let (reply, from) = message::receive(&socket).unwrap();
                let id = u16::from_be_bytes([reply[0], reply[1]]);
                (id, from.ip(), from.port(), message::told(&reply).unwrap())
            })
            .collect();
        replies.sort();
        assert_eq!(replies, expected);
    }
}

#[test]
fn curl_reaches_a_service_by_every_spelling_of_its_name() {
    let names = Names::new("curl");
    let _serving = names.server.serve(Mode::Http, PORT).unwrap();
    for name in ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local"] {
        for family in ["--ipv4", "--ipv6"] {
            let url = format!("http://{name}/");
            let got = names.client.run(&["curl", "--silent", "--show-error", family, &url]).unwrap();
            assert!(got.stdout().unwrap().starts_with("web:"), "{family} {url}: {got:?}");
        }
    }
}
