use model::{Enrolment, ExistingConnections, OutboundPolicy, Uncaptured, WhenAgentDown};

use super::{Applied, pod, pod_at};
use crate::{
    enrolment::{EnablementSelector, EnrolmentConfig},
    index::{Index, IndexConfig},
    kind::Kind,
};

fn namespace(metadata: &str) -> String {
    format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: default, {metadata}}}}}\n---\n")
}

#[test]
fn a_label_enrols_pods_that_are_there_already_and_its_absence_releases_them() {
    let applied = Applied::new(&pod_at("cart", "192.0.2.1")).sound();
    assert_eq!(applied.pod("cart").enrolment, Enrolment::NotEnrolled(Uncaptured::NoLabel));
    let applied = applied.and(&namespace("labels: {istio.io/dataplane-mode: ambient}"));
    assert!(applied.pod("cart").is_enrolled());
    let applied = applied.and(&namespace("labels: {}"));
    assert!(!applied.pod("cart").is_enrolled());
    let applied = applied.and(&namespace("labels: {istio.io/dataplane-mode: ambient}"));
    let applied = applied.without(Kind::Namespace, "default");
    assert!(!applied.pod("cart").is_enrolled());
}

#[test]
fn an_unknown_way_to_fail_is_reported_and_closed_taken() {
    let open =
        "labels: {istio.io/dataplane-mode: ambient}, annotations: {millstream.dev/when-agent-down: open}";
    let applied = Applied::new(&pod_at("cart", "192.0.2.1")).and(&namespace(open)).sound();
    assert_eq!(applied.pod("cart").when_agent_down, WhenAgentDown::Open);

    let applied = applied.and(&namespace("annotations: {millstream.dev/when-agent-down: opne}"));
    assert_eq!(
        applied.refusal(),
        "Namespace default: metadata.annotations[millstream.dev/when-agent-down]: \
         \"opne\" is not one of closed, open; closed is used"
    );
    assert_eq!(applied.pod("cart").when_agent_down, WhenAgentDown::Closed);
    assert!(!applied.pod("cart").is_enrolled(), "the rest of the namespace was taken");
}

#[test]
fn the_pod_says_what_becomes_of_its_connections_or_else_its_namespace() {
    use ExistingConnections::{Keep, Reset};
    let own = |value: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: cart, annotations: \
             {{millstream.dev/existing-connections: {value}}}}}}}\n---\n"
        )
    };
    let namespace = namespace("annotations: {millstream.dev/existing-connections: reset}");
    for (manifests, expected) in [
        (pod("cart", ""), Keep),
        (own("reset"), Reset),
        (format!("{namespace}{}", pod("cart", "")), Reset),
        (format!("{namespace}{}", own("keep")), Keep),
    ] {
        assert_eq!(
            Applied::new(&manifests).sound().pod("cart").existing_connections,
            expected,
            "{manifests}"
        );
    }
    let applied = Applied::new(&namespace).and(&own("rset"));
    assert_eq!(
        applied.refusal(),
        "Pod default/cart: metadata.annotations[millstream.dev/existing-connections]: \
         \"rset\" is not one of keep, reset; keep is used"
    );
    assert_eq!(applied.pod("cart").existing_connections, Keep);
}

#[test]
fn the_namespace_says_what_becomes_of_what_the_registry_does_not_know_or_else_the_configuration() {
    use OutboundPolicy::{AllowAny, RegistryOnly};
    let said = |what: &str| format!("annotations: {{millstream.dev/outbound-traffic-policy: {what}}}");
    for (name, metadata, default, expected) in [
        ("nobody", "labels: {}".to_owned(), AllowAny, AllowAny),
        ("the configuration", "labels: {}".to_owned(), RegistryOnly, RegistryOnly),
        ("the namespace, strictly", said("REGISTRY_ONLY"), AllowAny, RegistryOnly),
        ("the namespace, freely", said("ALLOW_ANY"), RegistryOnly, AllowAny),
        ("the namespace, nonsense", said("registry-only"), AllowAny, RegistryOnly),
    ] {
        let mut index = Index::new(IndexConfig { outbound_policy: default, ..IndexConfig::default() });
        index.reset(&super::objects(&pod_at("cart", "192.0.2.1")));
        for object in super::objects(&namespace(&metadata)) {
            let _reported_below = index.apply(&object);
        }
        assert_eq!(index.snapshot(1).pods()[0].outbound_policy, expected, "{name}");
    }
    let applied = Applied::new(&namespace(&said("registry-only")));
    assert_eq!(
        applied.refusal(),
        "Namespace default: metadata.annotations[millstream.dev/outbound-traffic-policy]: \
         \"registry-only\" is not one of ALLOW_ANY, REGISTRY_ONLY; REGISTRY_ONLY is used"
    );
}

#[test]
fn all_that_is_wrong_with_a_namespace_is_reported() {
    let wrong =
        "annotations: {millstream.dev/when-agent-down: ajar, millstream.dev/existing-connections: drop}";
    let mut index = Index::new(IndexConfig::default());
    let refusals = index.reset(&super::objects(&namespace(wrong)));
    assert_eq!(refusals.len(), 2, "{refusals:?}");
}

#[test]
fn every_namespace_has_the_label_with_its_name() {
    let selector = r#"[{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}]"#;
    let selectors: Vec<EnablementSelector> = serde_json::from_str(selector).unwrap();
    let enrolment = EnrolmentConfig::new(Some(selectors), []).unwrap();
    let mut index = Index::new(IndexConfig { enrolment, ..IndexConfig::default() });
    for object in super::objects(&pod_at("cart", "192.0.2.1")) {
        index.apply(&object).unwrap();
    }
    assert!(index.snapshot(1).pods()[0].is_enrolled(), "without the object");
    for object in super::objects(&namespace("labels: {team: shop}")) {
        index.apply(&object).unwrap();
    }
    assert!(index.snapshot(1).pods()[0].is_enrolled(), "with it");
}

#[test]
fn which_namespaces_are_enrolled_as_a_whole_and_what_holds_there_without_an_agent() {
    const AMBIENT: &str = "labels: {istio.io/dataplane-mode: ambient}";
    let said = |what: &str| format!("{AMBIENT}, annotations: {{millstream.dev/when-agent-down: {what}}}");
    let (closed, open) = (Some(WhenAgentDown::Closed), Some(WhenAgentDown::Open));
    for (name, metadata, default, expected) in [
        ("nobody asks", "labels: {team: shop}".to_owned(), WhenAgentDown::Open, None),
        ("it says nothing", AMBIENT.to_owned(), WhenAgentDown::Closed, closed),
        ("the configuration says it", AMBIENT.to_owned(), WhenAgentDown::Open, open),
        ("it says itself", said("closed"), WhenAgentDown::Open, closed),
        ("it says nonsense", said("ajar"), WhenAgentDown::Open, closed),
    ] {
        let mut enrolment = EnrolmentConfig::default();
        enrolment.when_agent_down = default;
        let mut index = Index::new(IndexConfig { enrolment, ..IndexConfig::default() });
        index.reset(&super::objects(&namespace(&metadata)));
        assert_eq!(index.snapshot(1).enrolled_namespaces().get("default").copied(), expected, "{name}");
    }
}

#[test]
fn nodes_are_checked() {
    let node = |address: &str| {
        format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: a}}, status: {{addresses: [\
             {{type: Hostname, address: a}}, {{type: InternalIP, address: {address}}}]}}}}"
        )
    };
    Applied::new(&node("192.0.2.1")).sound();
    assert_eq!(
        Applied::new(&node("a.example")).refusal(),
        "Node a: status.addresses[1].address: \"a.example\" is not an IP address"
    );
}
