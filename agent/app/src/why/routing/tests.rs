use std::sync::Arc;

use model::{
    Enrolment, Exclusions, ExistingConnections, NamedEndpoint, ObjectName, OutboundPolicy, Pod, PodDns,
    PodUid, Service, ServicePort, Snapshot, SnapshotBuilder, WhenAgentDown,
};
use route::SameNode;

use super::*;
use crate::why::Destination;

fn pod(name: &str, ip: &str, outbound_policy: OutboundPolicy) -> Pod {
    Pod {
        uid: PodUid::new(name),
        name: ObjectName::new("shop", name),
        node: Some("node-a".into()),
        service_account: "default".into(),
        ips: vec![ip.parse().unwrap()],
        runtime_uid: None,
        netns: None,
        enrolment: Enrolment::Enrolled("test".into()),
        terminating: false,
        when_agent_down: WhenAgentDown::Closed,
        existing_connections: ExistingConnections::Keep,
        policed_by: None,
        exclusions: Exclusions::default(),
        refused_exclusions: Vec::new(),
        redirection: None,
        dns: PodDns::default(),
        outbound_policy,
    }
}

fn entry(host: &str, address: &str, discovery: Discovery, names: &[(&str, u16)]) -> Service {
    let named = |&(host, port): &(&str, u16)| NamedEndpoint { host: host.into(), port };
    Service {
        vips: vec![address.parse().unwrap()],
        discovery,
        ports: vec![ServicePort {
            port: 443,
            names: names.iter().map(named).collect(),
            ..ServicePort::default()
        }],
        ..Service::entry("shop", host)
    }
}

fn cluster() -> Arc<Snapshot> {
    SnapshotBuilder::new(7, "cluster.local")
        .pod(pod("client", "10.0.0.1", OutboundPolicy::AllowAny))
        .pod(pod("strict", "10.0.0.2", OutboundPolicy::RegistryOnly))
        .service(entry(
            "api.test",
            "240.240.0.1",
            Discovery::Dns,
            &[("a.api.test", 443), ("b.api.test", 8443)],
        ))
        .service(entry("rr.test", "240.240.0.2", Discovery::DnsRoundRobin, &[("rr.test", 443)]))
        .service(entry("none.test", "203.0.113.1", Discovery::AsDialled, &[]))
        .service(entry("pod.test", "10.0.0.2", Discovery::AsDialled, &[]))
        .service(entry("*.dyn.test", "240.240.0.3", Discovery::DynamicDns, &[]))
        .build()
}

#[test]
fn what_the_proxy_would_do() {
    use Verdict::{Proxied, Refused};
    let snapshot = cluster();
    for (name, client, destination, verdict, summary, steps) in [
        (
            "DNS",
            "client",
            "240.240.0.1:443",
            Proxied,
            "goes through the proxy to service shop/api.test",
            &[
                "resolve | service shop/api.test port 443 | snapshot 7: 2 names",
                "select | perhaps a.api.test:443 | resolved by the proxy: any of its addresses (DNS)",
                "select | perhaps b.api.test:8443 | resolved by the proxy: any of its addresses (DNS)",
            ][..],
        ),
        (
            "DNS_ROUND_ROBIN",
            "client",
            "240.240.0.2:443",
            Proxied,
            "goes through the proxy to service shop/rr.test",
            &[
                "resolve | service shop/rr.test port 443 | snapshot 7: 1 name",
                "select | perhaps rr.test:443 | resolved by the proxy: its first address (DNS_ROUND_ROBIN)",
            ],
        ),
        (
            "NONE",
            "strict",
            "203.0.113.1:443",
            Proxied,
            "goes through the proxy to 203.0.113.1:443, of service shop/none.test",
            &["resolve | service shop/none.test: passthrough | snapshot 7: its endpoint is what was dialled"],
        ),
        (
            "NONE, a pod",
            "client",
            "10.0.0.2:443",
            Proxied,
            "goes through the proxy to pod shop/strict",
            &[
                "resolve | pod shop/strict | snapshot 7: address of the pod, of service shop/pod.test",
                "select | 10.0.0.2:443 | shop/strict, delivered in its namespace",
            ],
        ),
        (
            "nobody's, ALLOW_ANY",
            "client",
            "203.0.113.9:443",
            Proxied,
            "goes through the proxy to 203.0.113.9:443, which is outside the mesh",
            &["resolve | passthrough | snapshot 7: nobody known has 203.0.113.9"],
        ),
        (
            "nobody's, REGISTRY_ONLY",
            "strict",
            "203.0.113.9:443",
            Refused,
            "is reset by the proxy: no service has this address and port, and the outbound traffic policy is REGISTRY_ONLY",
            &["resolve | refused | snapshot 7: nobody known has 203.0.113.9:443"],
        ),
        (
            "DYNAMIC_DNS",
            "client",
            "240.240.0.3:443",
            Refused,
            "is reset by the proxy: resolution is DYNAMIC_DNS, and TCP does not tell the proxy which name the client asked for",
            &["resolve | refused | snapshot 7: service shop/*.dyn.test port 443"],
        ),
    ] {
        let addr = destination.parse().unwrap();
        let facts = Facts {
            node: "node-a",
            snapshot: &snapshot,
            same_node: SameNode::Auto,
            pod: snapshot.pod(&PodUid::new(client)).unwrap(),
            destination: Destination { addr, asked: None },
            phase: None,
            kernel: None,
        };
        let mut story = Story(Vec::new());
        let told = proxied(&mut story, &facts, addr);
        assert_eq!(told, (verdict, summary.to_owned()), "{name}");
        let told =
            story.0.iter().map(|step| format!("{} | {} | {}", step.stage, step.decision, step.evidence));
        assert_eq!(told.collect::<Vec<_>>(), steps, "{name}");
    }
}
