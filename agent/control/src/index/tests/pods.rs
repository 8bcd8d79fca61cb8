use std::path::Path;

use model::{Enrolment, ExclusionList, Exclusions, Origin, Uncaptured};

use super::{Applied, ip, pod, pod_at, uid};
use crate::{
    ExclusionConfig,
    index::{Index, IndexConfig},
};

#[test]
fn a_pod_as_the_api_server_tells_it() {
    let applied = Applied::new(
        "
apiVersion: v1
kind: Pod
metadata:
  name: cart-0
  namespace: default
  uid: 4f1c2a90-0000-4000-8000-000000000001
  labels: {istio.io/dataplane-mode: ambient}
  annotations: {millstream.dev/netns: /run/netns/cart-0}
spec:
  nodeName: node-a
  serviceAccountName: cart
  containers: [{name: app, image: cart}]
status:
  phase: Running
  podIP: 192.0.2.10
  podIPs: [{ip: 192.0.2.10}, {ip: '2001:db8::10'}]
",
    )
    .sound();
    let pod = applied.pod("cart-0");
    assert_eq!(pod.uid, uid("4f1c2a90-0000-4000-8000-000000000001"));
    assert!(pod.is_on("node-a"));
    assert_eq!(&*pod.service_account, "cart");
    assert_eq!(pod.ips, [ip("192.0.2.10"), ip("2001:db8::10")]);
    assert_eq!(pod.netns.as_deref(), Some(Path::new("/run/netns/cart-0")));
    assert!(pod.is_enrolled());
    assert_eq!(applied.snapshot().pod_by_ip(ip("::ffff:192.0.2.10")), Some(&pod));
}

#[test]
fn by_hand_little_is_needed() {
    let pod = Applied::new(&pod("cart", "")).sound().pod("cart");
    assert_eq!(pod.uid, uid("default.cart"), "the same each time");
    assert_eq!(&*pod.service_account, "default");
    assert_eq!((pod.node.as_ref(), pod.netns.as_ref(), pod.ips.len()), (None, None, 0));
}

#[test]
fn a_static_pod_is_known_to_its_kubelet_by_another_uid() {
    let mirror = |uid: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: cart, annotations: {{kubernetes.io/config.mirror: {uid}}}}}}}"
        )
    };
    let pod = Applied::new(&mirror("9b1d0c")).sound().pod("cart");
    assert_eq!((pod.uid.clone(), pod.runtime_uid.as_deref()), (uid("default.cart"), Some("9b1d0c")));
    let refusal = Applied::new(&mirror("../../etc")).refusal();
    assert!(refusal.contains("metadata.annotations[kubernetes.io/config.mirror]"), "{refusal}");
}

#[test]
fn what_makes_no_sense_names_the_field() {
    for (rest, refusal) in [
        ("status: {podIP: localhost}", "status.podIP: \"localhost\" is not an IP address"),
        (
            "status: {podIPs: [{ip: 192.0.2.1}, {ip: 127.0.0.1}]}",
            "status.podIPs[1].ip: 127.0.0.1 is a loopback address",
        ),
        (
            "status: {phase: running}",
            "status.phase: \"running\" is not one of Pending, Running, Succeeded, Failed, Unknown",
        ),
        (
            "spec: {nodeName: a/b}",
            "spec.nodeName: \"a/b\" is not a name: a-z, 0-9, - and ., a letter or digit at both ends",
        ),
    ] {
        assert_eq!(Applied::new(&pod("cart", rest)).refusal(), format!("Pod default/cart: {refusal}"));
    }
    for (metadata, field) in [
        ("name: Cart", "metadata.name"),
        ("name: cart, namespace: a/b", "metadata.namespace"),
        ("name: cart, uid: ../../etc", "metadata.uid"),
        (
            "name: cart, annotations: {millstream.dev/netns: net/a}",
            "metadata.annotations[millstream.dev/netns]",
        ),
    ] {
        let applied = Applied::new(&format!("{{apiVersion: v1, kind: Pod, metadata: {{{metadata}}}}}"));
        assert_eq!(applied.refusals[0].field, field);
        assert!(applied.snapshot().pods().is_empty());
    }
}

#[test]
fn the_last_good_version_stays() {
    let applied = Applied::new(&pod_at("cart", "192.0.2.1")).and(&pod_at("cart", "192.0.2.300"));
    assert_eq!(applied.pod("cart").ips, [ip("192.0.2.1")]);
    let applied = applied.and(&pod_at("cart", "192.0.2.3"));
    assert_eq!(applied.pod("cart").ips, [ip("192.0.2.3")]);
    assert_eq!(applied.snapshot().pod_by_ip(ip("192.0.2.1")), None);
}

#[test]
fn a_pod_without_addresses_of_its_own_is_not_found_by_address() {
    let applied = Applied::new(&format!(
        "{}{}{}",
        pod("proxy", "spec: {hostNetwork: true}, status: {podIP: 192.0.2.1}"),
        pod("agent", "spec: {hostNetwork: true}, status: {podIP: 192.0.2.1}"),
        pod("job", "status: {phase: Succeeded, podIP: 192.0.2.2}"),
    ))
    .and(&pod_at("cart", "192.0.2.2"))
    .sound();
    assert_eq!(
        applied.pod("agent").enrolment,
        Enrolment::NotEnrolled(Uncaptured::HostNetwork { asked_by: None })
    );
    assert_eq!(applied.pod("job").enrolment, Enrolment::NotEnrolled(Uncaptured::Terminal));
    assert_eq!(applied.snapshot().pod_by_ip(ip("192.0.2.1")), None);
    assert_eq!(applied.snapshot().pod_by_ip(ip("192.0.2.2")), Some(&applied.pod("cart")));
}

#[test]
fn a_pod_that_is_being_deleted_stays_until_it_is() {
    let yaml = "{apiVersion: v1, kind: Pod, metadata: {name: cart, deletionTimestamp: '2026-01-01T00:00:00Z', \
                labels: {istio.io/dataplane-mode: ambient}}, status: {podIP: 192.0.2.1}}";
    let pod = Applied::new(yaml).sound().pod("cart");
    assert!(pod.is_enrolled() && pod.terminating);
}

#[test]
fn only_a_trusted_source_names_network_namespaces() {
    let yaml = "{apiVersion: v1, kind: Pod, metadata: {name: cart, annotations: {millstream.dev/netns: /proc/1/ns/net}}}";
    let mut index = Index::new(IndexConfig::default());
    index.apply(&super::objects(yaml)[0]).unwrap();
    assert_eq!(index.snapshot(1).pods()[0].netns, None);
}

#[test]
fn exclusions_of_the_pod_come_on_top_of_those_of_the_node() {
    let ports = |text| Exclusions::parse(ExclusionList::OutboundPorts, text, Origin::Node).unwrap();
    let exclusions =
        ExclusionConfig { node: ports("80"), allow_overrides: [ExclusionList::OutboundPorts].into() };
    let mut index = Index::new(IndexConfig { exclusions, ..IndexConfig::default() });
    let mut applied = |ports: &str, uid: &str| {
        let yaml = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: cart, uid: {uid}, \
             annotations: {{millstream.dev/exclude-outbound-ports: '{ports}'}}}}}}"
        );
        let refusals = index.reset(&super::objects(&yaml));
        let pod = index.snapshot(1).pods()[0].clone();
        let told = pod.exclusions.iter().map(|(exclusion, origin)| format!("{origin:?} {}", exclusion.what));
        assert_eq!(refusals.len(), pod.refused_exclusions.len());
        (told.collect::<Vec<_>>().join(", "), pod.refused_exclusions.len())
    };
    let both = "Node 80, Pod 443".to_owned();
    assert_eq!(applied("443", "a"), (both.clone(), 0));
    assert_eq!(applied("443,", "a"), (both.clone(), 1), "the last good value stays");
    assert_eq!(applied("443,", "a"), (both, 1), "for as long as it takes");
    assert_eq!(applied("443,", "b"), ("Node 80".to_owned(), 1), "but not for another pod of that name");
    assert_eq!(applied("80", "b"), ("Node 80".to_owned(), 0), "what the node says first is the node's");
}
