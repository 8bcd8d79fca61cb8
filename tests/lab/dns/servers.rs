//! Pods of the mesh that are name servers themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use harness::{Pod, Process};

use super::{Names, RECORDS, RESOLVERS_OWN, WEB, dig};
use crate::{
    mesh::{LABEL, NAMESPACE},
    steering::wait_for,
};

/// On all addresses, as a pod that knows nothing of the mesh has it.
fn serve(pod: &Pod) -> Process {
    let plain = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"];
    let quiet = ["--user=root", "--pid-file=", "--log-facility=-"];
    let args: Vec<&str> = plain.into_iter().chain(quiet).chain(RECORDS.iter().copied()).collect();
    let server = pod.spawn(&args).unwrap();
    wait_for(|| dig(pod, Ipv4Addr::LOCALHOST.into(), &[WEB, "A"]) == RESOLVERS_OWN);
    server
}

/// It serves clients inside and outside the mesh, what they ask of the mesh excepted, and itself.
#[track_caller]
fn serves(names: &Names, stranger: &Pod, server: &Pod, case: &str) {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for transport in ["+notcp", "+tcp"] {
        for ip in server.ips() {
            let www = |pod| dig(pod, ip, &[transport, "www.example.com", "A"]);
            assert_eq!(www(&names.client), "A 192.0.2.80", "{case}: a client in the mesh, {ip} {transport}");
            assert_eq!(www(stranger), "A 192.0.2.80", "{case}: a client outside, {ip} {transport}");
            let web = |pod| dig(pod, ip, &[transport, WEB, "A"]);
            assert_eq!(web(stranger), RESOLVERS_OWN, "{case}: a client outside, {ip} {transport}");
            assert_eq!(web(&names.client), format!("A {}", names.web.v4), "{case}: {ip} {transport}");
        }
        for ip in loopback.into_iter().chain(server.ips()) {
            assert_eq!(
                dig(server, ip, &[transport, WEB, "A"]),
                RESOLVERS_OWN,
                "{case}: itself, {ip} {transport}"
            );
        }
    }
}

#[test]
fn a_pod_serves_dns_whether_it_began_before_its_capture_or_after() {
    let names = Names::new("nameserver");
    let stranger = names.mesh.stranger("stranger");
    let before = names.mesh.node.pod(NAMESPACE, "before").label(LABEL, "none").start().unwrap();
    let serving = serve(&before);
    serves(&names, &stranger, &before, "not captured");
    before.label(LABEL, None).unwrap();
    names.mesh.agent.wait_captured(&before).unwrap();
    serves(&names, &stranger, &before, "captured since");
    drop(serving);
    let _again = serve(&before);
    serves(&names, &stranger, &before, "started again");

    let after = names.mesh.pod("after");
    let _serving = serve(&after);
    serves(&names, &stranger, &after, "captured before");
    // As a client it is like any other pod.
    assert_eq!(dig(&after, names.resolver.v4().into(), &[WEB, "A"]), format!("A {}", names.web.v4));
}
