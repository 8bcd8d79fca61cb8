use model::{Enrolment, ExistingConnections, SnapshotBuilder, WhenAgentDown};

use super::*;

const CLIENT: &str = "10.0.0.1";

fn pod(name: &str, ips: &[&str], policed_by: Option<&str>) -> Pod {
    Pod {
        uid: PodUid::new(name),
        name: ObjectName::new("shop", name),
        node: Some("node-a".into()),
        service_account: "default".into(),
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        runtime_uid: None,
        netns: None,
        enrolment: Enrolment::Enrolled("test".into()),
        terminating: false,
        when_agent_down: WhenAgentDown::Closed,
        existing_connections: ExistingConnections::Keep,
        policed_by: policed_by.map(Into::into),
        exclusions: model::Exclusions::default(),
        refused_exclusions: Vec::new(),
        redirection: None,
        dns: model::PodDns::default(),
        outbound_policy: model::OutboundPolicy::default(),
    }
}

struct Case {
    name: &'static str,
    /// Over the client, and over the web server.
    policies: (Option<&'static str>, Option<&'static str>),
    client: &'static str,
    dialled: &'static str,
    endpoint: &'static str,
    /// The way with `auto`, `wire` and `direct`.
    ways: [&'static str; 3],
}

/// From the client to the pod `web`, which is open on this node.
const NEAR: Case = Case {
    name: "",
    policies: (None, None),
    client: "client",
    dialled: "192.0.2.10:80",
    endpoint: "10.0.0.2:8080",
    ways: ["shop/web, delivered in its namespace", "shop/web, over the wire: same-node: wire", DIRECT],
};
const DIRECT: &str = "shop/web, delivered in its namespace";
const BY_SETTING: &str = "shop/web, over the wire: same-node: wire";

#[test]
fn ways() {
    for Case { name, policies, client, dialled, endpoint, ways } in [
        Case { name: "no policy", ..NEAR },
        Case { name: "the pod's address itself", dialled: "10.0.0.2:8080", ..NEAR },
        Case { name: "a mapped address", dialled: "[::ffff:192.0.2.10]:80", ..NEAR },
        Case { name: "IPv6", dialled: "[fd00::10]:80", endpoint: "[fd00::2]:8080", ..NEAR },
        Case {
            name: "a policy over the client",
            policies: (Some("NetworkPolicy shop/out"), None),
            ways: [
                "shop/web, over the wire: NetworkPolicy shop/out may select shop/client",
                BY_SETTING,
                "shop/web, delivered in its namespace: same-node: direct, though NetworkPolicy shop/out may select shop/client",
            ],
            ..NEAR
        },
        Case {
            name: "a policy over the server",
            policies: (None, Some("GlobalNetworkPolicy all")),
            ways: [
                "shop/web, over the wire: GlobalNetworkPolicy all may select shop/web",
                BY_SETTING,
                "shop/web, delivered in its namespace: same-node: direct, though GlobalNetworkPolicy all may select shop/web",
            ],
            ..NEAR
        },
        Case {
            name: "a pod that calls itself",
            policies: (Some("NetworkPolicy shop/all"), Some("NetworkPolicy shop/all")),
            client: "web",
            ways: [DIRECT; 3],
            ..NEAR
        },
        Case {
            name: "an endpoint of the other family",
            endpoint: "[fd00::2]:8080",
            ways: ["shop/web, forwarded"; 3],
            ..NEAR
        },
        Case {
            name: "a client that is no longer known",
            client: "gone",
            ways: [
                "shop/web, over the wire: the client is no longer known, nor what policies it has",
                BY_SETTING,
                DIRECT,
            ],
            ..NEAR
        },
        Case {
            name: "a pod that is not open here",
            policies: (Some("NetworkPolicy shop/all"), None),
            endpoint: "10.0.0.3:8080",
            ways: ["shop/far, forwarded"; 3],
            ..NEAR
        },
        Case { name: "no pod", endpoint: "203.0.113.1:80", ways: ["forwarded"; 3], ..NEAR },
    ] {
        let snapshot = SnapshotBuilder::new(1, "cluster.local")
            .pod(pod("client", &[CLIENT, "fd00::1"], policies.0))
            .pod(pod("web", &["10.0.0.2", "fd00::2"], policies.1))
            .pod(pod("far", &["10.0.0.3"], None))
            .build();
        for (setting, expected) in [SameNode::Auto, SameNode::Wire, SameNode::Direct].into_iter().zip(ways) {
            let journey = Journey {
                client: &PodUid::new(client),
                dialled: OriginalDst(dialled.parse().unwrap()),
                endpoint: EndpointAddr(endpoint.parse().unwrap()),
            };
            let way = way(&snapshot, setting, journey, |pod| *pod.name.name != *"far");
            assert_eq!(way.to_string(), expected, "{name}, {setting:?}");
        }
    }
}
