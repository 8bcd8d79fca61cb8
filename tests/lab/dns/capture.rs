//! Whose queries are captured, and what becomes of them while no agent runs.

use std::{
    io::ErrorKind,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use hickory_resolver::proto::rr::RecordType;

use super::{
    Names, RESOLVERS_OWN, WEB,
    message::{self, PORT, ask, query, receive, told},
};
use crate::{
    mesh::{Mesh, NAMESPACE, refused},
    steering::wait_for,
};

const CAPTURE: &str = "ambient.istio.io/dns-capture";

impl Names {
    fn of_mesh(&self) -> String {
        format!("A {}", self.web.v4)
    }

    /// Over both transports, and to both addresses of the resolver.
    #[track_caller]
    fn all_get(&self, expected: &str, case: &str) {
        for ip in self.resolver.ips() {
            for transport in ["+notcp", "+tcp"] {
                assert_eq!(self.dig(ip, &[transport, WEB, "A"]), expected, "{case}: {ip} {transport}");
            }
        }
    }

    /// A change of the pod has come to the agent once it shows.
    fn wait_until_told(&self, expected: &str) {
        wait_for(|| self.dig(self.resolver.v4().into(), &[WEB, "A"]) == expected);
    }
}

#[test]
fn a_pod_decides_whether_its_queries_are_captured_and_may_change_its_mind() {
    let names = Names::new("annotated");
    names.all_get(&names.of_mesh(), "no annotation");
    for (value, expected) in [
        (Some("false"), RESOLVERS_OWN),
        (Some("true"), &*names.of_mesh()),
        (Some("false"), RESOLVERS_OWN),
        (None, &*names.of_mesh()),
    ] {
        names.client.annotate(CAPTURE, value).unwrap();
        names.wait_until_told(expected);
        names.all_get(expected, &format!("{value:?}"));
    }
    // What makes no sense changes nothing, and is told.
    names.client.annotate(CAPTURE, Some("perhaps")).unwrap();
    wait_for(|| names.mesh.ask(&["status"]).to_string().contains("perhaps"));
    names.all_get(&names.of_mesh(), "perhaps");
}

#[test]
fn a_pod_that_begins_without_capture_asks_its_resolver() {
    let names = Names::new("begins");
    let pod = names.mesh.node.pod(NAMESPACE, "uncaptured").annotation(CAPTURE, "false").start().unwrap();
    names.mesh.agent.wait_captured(&pod).unwrap();
    let resolver = names.resolver.v4().into();
    for transport in ["+notcp", "+tcp"] {
        assert_eq!(super::dig(&pod, resolver, &[transport, WEB, "A"]), RESOLVERS_OWN);
    }
    let why = names.mesh.agent.cli(&["why", &pod.full_name(), "web:80"]).unwrap();
    assert!(why.stderr.contains("is not captured"), "{why:?}");
}

#[test]
fn the_nodes_configuration_decides_for_pods_that_say_nothing() {
    let names = Names::of(Mesh::configured("nodnscapture", "dns: {capture: false}"));
    names.all_get(RESOLVERS_OWN, "off");
    names.client.annotate(CAPTURE, Some("true")).unwrap();
    names.wait_until_told(&names.of_mesh());
    names.all_get(&names.of_mesh(), "a pod that wants it");
}

#[test]
fn what_is_excluded_goes_to_the_resolver() {
    for (lab, exclusion) in [
        ("portexcluded", "exclude-outbound-ports: '53'"),
        // The first pod of the first node, which is the resolver, has these addresses.
        ("netexcluded", "exclude-outbound-cidrs: '10.1.0.2/32, fd00:1::2/128'"),
    ] {
        let names = Names::of(Mesh::configured(lab, &format!("exclusions: {{{exclusion}}}")));
        names.all_get(RESOLVERS_OWN, exclusion);
    }
}

#[test]
fn while_no_agent_runs_queries_of_a_closed_pod_go_nowhere_and_an_open_one_asks_its_resolver() {
    let mut names = Names::new("dnsdead");
    names.mesh.lab.annotate_namespace("open", "millstream.dev/when-agent-down", Some("open")).unwrap();
    names.mesh.lab.label_namespace("open", crate::mesh::LABEL, Some("ambient")).unwrap();
    let open = names.mesh.node.pod("open", "open").start().unwrap();
    names.mesh.agent.wait_captured(&open).unwrap();
    for _ in 0..2 {
        names.mesh.agent.kill().unwrap();
        for resolver in names.resolver.ips() {
            is_refused(&names, resolver);
            for transport in ["+notcp", "+tcp"] {
                assert_eq!(
                    super::dig(&open, resolver, &[transport, WEB, "A"]),
                    RESOLVERS_OWN,
                    "open, {transport}"
                );
            }
        }
        names.mesh.agent.launch().unwrap();
        names.all_get(&names.of_mesh(), "back");
        assert_eq!(super::dig(&open, names.resolver.v4().into(), &[WEB, "A"]), names.of_mesh(), "open, back");
    }
}

#[test]
fn a_stuck_agent_is_as_good_as_dead_to_queries() {
    let names = Names::of(Mesh::configured("dnsstuck", "canary: {dead-after: 1s}"));
    names.mesh.lab.annotate_namespace("open", "millstream.dev/when-agent-down", Some("open")).unwrap();
    names.mesh.lab.label_namespace("open", crate::mesh::LABEL, Some("ambient")).unwrap();
    let open = names.mesh.node.pod("open", "open").start().unwrap();
    names.mesh.agent.wait_captured(&open).unwrap();
    names.mesh.agent.stop().unwrap();
    let resolver = names.resolver.v4().into();
    // Until it is found, a query waits in its socket.
    wait_for(|| super::dig(&open, resolver, &[WEB, "A"]) == RESOLVERS_OWN);
    for resolver in names.resolver.ips() {
        is_refused(&names, resolver);
    }
    names.mesh.agent.go_on().unwrap();
    names.wait_until_told(&names.of_mesh());
    wait_for(|| super::dig(&open, resolver, &[WEB, "A"]) == names.of_mesh());
}

#[test]
fn a_released_pod_asks_its_resolver_and_a_captured_one_the_mesh_again() {
    let names = Names::new("dnsreleased");
    for _ in 0..2 {
        names.all_get(&names.of_mesh(), "captured");
        names.mesh.label(None);
        names.mesh.agent.wait_released(&names.client).unwrap();
        names.all_get(RESOLVERS_OWN, "released");
        names.mesh.label(Some("ambient"));
        names.mesh.agent.wait_captured(&names.client).unwrap();
    }
}

/// Each is asked once, as no program does: whoever loses one waits in vain.
#[test]
fn an_upgrade_loses_no_query() {
    let mut names = Names::new("dnsupgraded");
    let (client, resolvers) = (names.client.clone(), names.resolver.ips());
    let expected: [IpAddr; 2] = [names.web.v4.into(), "192.0.2.80".parse().unwrap()];
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !is_over.load(Ordering::Relaxed) {
                for (name, address) in [WEB, "www.example.com"].into_iter().zip(expected) {
                    let query = query(asked, name, RecordType::A).to_vec().unwrap();
                    for resolver in &resolvers {
                        let reply = ask(&client, *resolver, &query).unwrap();
                        assert_eq!(told(&reply), Ok(vec![address]), "{name} by {resolver}");
                    }
                }
                asked = asked.wrapping_add(1);
            }
            asked
        });
        // Nothing fails here before the other thread has been told.
        let newer = names.mesh.agent.successor("newer");
        let ended = names.mesh.agent.terminate();
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.unwrap().success());
        // It lives until the last reply is there.
        let _newer = newer.unwrap();
        assert!(0 < asking.join().unwrap());
    });
}

/// It never comes to the resolver, and the pod hears so at once: from `connect(2)`. Who sends without connecting hears it
/// over IPv6 alone, for the kernel sends no ICMP message from an IPv4 address that is not the pod's.
#[track_caller]
fn is_refused(names: &Names, resolver: IpAddr) {
    refused(&names.client, (resolver, PORT));
    let socket = message::socket(&names.client, resolver);
    let error = socket.connect((resolver, PORT)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{resolver}: {error}");
    let said = names.dig(resolver, &[WEB, "A"]);
    assert!(said.contains("connection refused"), "{said}");

    let counted = || names.mesh.counted("steer", "refused: agent down, closed");
    let before = counted();
    socket.send_to(&query(1, WEB, RecordType::A).to_vec().unwrap(), (resolver, PORT)).unwrap();
    wait_for(|| before < counted());
    socket.set_nonblocking(true).unwrap();
    assert_eq!(receive(&socket).unwrap_err().kind(), ErrorKind::WouldBlock, "{resolver}");
}
