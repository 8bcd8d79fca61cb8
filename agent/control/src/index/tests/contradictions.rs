use super::{Applied, ip, objects, pod_at, service};
use crate::kind::Kind;

fn pod_with(metadata: &str, status: &str) -> String {
    format!("{{apiVersion: v1, kind: Pod, metadata: {{{metadata}}}, status: {{{status}}}}}\n---\n")
}

#[test]
fn two_objects_cannot_have_the_same() {
    let netns = |name: &str, uid: &str| {
        pod_with(
            &format!("name: {name}, uid: {uid}, annotations: {{millstream.dev/netns: /run/netns/a}}"),
            "",
        )
    };
    for (yaml, refusal) in [
        (
            pod_at("a", "192.0.2.1") + &pod_at("b", "'::ffff:192.0.2.1'"),
            "Pod default/b: status.podIPs: address 192.0.2.1 is already that of Pod default/a",
        ),
        (
            pod_with("name: a, uid: x", "") + &pod_with("name: b, uid: x", ""),
            "Pod default/b: metadata.uid: UID x is already that of Pod default/a",
        ),
        (
            netns("a", "u1") + &netns("b", "u2"),
            "Pod default/b: metadata.annotations[millstream.dev/netns]: \
             network namespace /run/netns/a is already that of Pod default/a",
        ),
        (
            service("a", "clusterIP: 192.0.2.1") + &service("b", "clusterIP: 192.0.2.1"),
            "Service default/b: spec.clusterIPs: address 192.0.2.1 is already that of Service default/a",
        ),
        (
            service("a", "clusterIP: 192.0.2.1") + &pod_at("b", "192.0.2.1"),
            "Pod default/b: status.podIPs: address 192.0.2.1 is already that of Service default/a",
        ),
    ] {
        let applied = Applied::new(&yaml);
        assert_eq!(applied.refusal(), refusal);
        let snapshot = applied.snapshot();
        assert_eq!(snapshot.pods().len() + snapshot.services().len(), 1, "{refusal}");
    }
}

#[test]
fn the_version_before_the_contradiction_stays() {
    let applied = Applied::new(&(pod_at("a", "192.0.2.1") + &pod_at("b", "192.0.2.2"))).sound();
    let applied = applied.and(&pod_at("b", "192.0.2.1"));
    assert_eq!(applied.pod("b").ips, [ip("192.0.2.2")]);
    assert_eq!(applied.snapshot().pod_by_ip(ip("192.0.2.1")), Some(&applied.pod("a")));
}

#[test]
fn a_refused_object_is_taken_when_the_other_gives_way() {
    let both = || Applied::new(&(pod_at("a", "192.0.2.1") + &pod_at("b", "192.0.2.1")));
    for (name, after) in [
        ("deleted", both().without(Kind::Pod, "a")),
        ("moved", both().and(&pod_at("a", "192.0.2.7"))),
        ("finished", both().and(&pod_with("name: a", "podIP: 192.0.2.1, phase: Failed"))),
    ] {
        assert_eq!(after.pod("b").ips, [ip("192.0.2.1")], "{name}");
    }
    let gone = both().without(Kind::Pod, "b").without(Kind::Pod, "a");
    assert!(gone.snapshot().pods().is_empty(), "what was deleted while it waited does not come back");
}

#[test]
fn a_reset_is_all_there_is() {
    let mut index = Applied::new(&(pod_at("a", "192.0.2.1") + &pod_at("b", "192.0.2.2"))).index;
    assert_eq!(index.reset(&objects(&(pod_at("b", "192.0.2.2") + &pod_at("c", "192.0.2.1")))), []);
    let names: Vec<_> = index.snapshot(1).pods().iter().map(|pod| pod.name.name.to_string()).collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(index.reset(&[]), []);
    let empty = model::SnapshotBuilder::new(0, "cluster.local").build();
    assert!(index.snapshot(1).same_content(&empty));
}

#[test]
fn in_a_reset_the_holder_keeps_what_it_had() {
    for (name, before, after, expected, refused) in [
        (
            "a stranger that comes first",
            pod_at("a", "192.0.2.1"),
            pod_at("0x", "192.0.2.1") + &pod_at("a", "192.0.2.1"),
            "a 192.0.2.1",
            1,
        ),
        (
            "a stranger that comes first, while the holder changes",
            pod_at("a", "192.0.2.1"),
            pod_at("0x", "192.0.2.1") + &pod_with("name: a, labels: {app: a}", "podIP: 192.0.2.1"),
            "a 192.0.2.1",
            1,
        ),
        (
            "a neighbour that wants more, while the holder changes",
            pod_at("0x", "192.0.2.9") + &pod_at("a", "192.0.2.1"),
            pod_at("0x", "192.0.2.1") + &pod_with("name: a, labels: {app: a}", "podIP: 192.0.2.1"),
            "0x 192.0.2.9, a 192.0.2.1",
            1,
        ),
        (
            "a stranger, while the holder is refused",
            pod_at("a", "192.0.2.1"),
            pod_at("0x", "192.0.2.1") + &pod_at("a", "bad"),
            "a 192.0.2.1",
            2,
        ),
        (
            "two that change places",
            pod_at("a", "192.0.2.1") + &pod_at("b", "192.0.2.2"),
            pod_at("a", "192.0.2.2") + &pod_at("b", "192.0.2.1"),
            "a 192.0.2.2, b 192.0.2.1",
            0,
        ),
        (
            "one that takes the place of another that left",
            pod_at("a", "192.0.2.1") + &pod_at("b", "192.0.2.2"),
            pod_at("b", "192.0.2.1"),
            "b 192.0.2.1",
            0,
        ),
        (
            "the same object twice",
            String::new(),
            pod_at("a", "192.0.2.1") + &pod_at("a", "192.0.2.2"),
            "a 192.0.2.1",
            1,
        ),
    ] {
        let mut index = Applied::new(&before).sound().index;
        let refusals = index.reset(&objects(&after));
        assert_eq!(refusals.len(), refused, "{name}: {refusals:?}");
        let snapshot = index.snapshot(1);
        let pods: Vec<_> = snapshot.pods().iter().map(|p| format!("{} {}", p.name.name, p.ips[0])).collect();
        assert_eq!(pods.join(", "), expected, "{name}");
        assert_eq!(index.reset(&objects(&after)).len(), refused, "{name}: told again while it is so");
    }
}

#[test]
fn a_reset_of_one_kind_decides_like_one_of_all() {
    for (name, before, after) in [
        ("nothing new", pod_at("a", "192.0.2.1"), pod_at("a", "192.0.2.1")),
        ("gone", pod_at("a", "192.0.2.1") + &pod_at("b", "192.0.2.2"), pod_at("b", "192.0.2.2")),
        (
            "two that change places",
            pod_at("a", "192.0.2.1") + &pod_at("b", "192.0.2.2"),
            pod_at("a", "192.0.2.2") + &pod_at("b", "192.0.2.1"),
        ),
        (
            "a stranger that comes first",
            pod_at("a", "192.0.2.1"),
            pod_at("0x", "192.0.2.1") + &pod_at("a", "192.0.2.1"),
        ),
        ("one that makes no sense", pod_at("a", "192.0.2.1"), pod_at("a", "bad") + &pod_at("b", "bad")),
    ] {
        let service = service("s", "clusterIP: 192.0.2.99");
        let (mut all, mut kind) =
            (Applied::new(&(service.clone() + &before)), Applied::new(&(service.clone() + &before)));
        let refusals = all.index.reset(&objects(&(service + &after)));
        let parsed = objects(&after).iter().map(|object| kind.index.parse(object)).collect();
        kind.index.reset_kind(Kind::Pod, parsed);
        assert!(kind.snapshot().same_content(&all.snapshot()), "{name}");
        assert_eq!(kind.index.refusals().len(), refusals.len(), "{name}");
        assert_eq!(kind.snapshot().services().len(), 1, "{name}");
    }
}

#[test]
fn a_reset_of_one_kind_makes_room_for_another() {
    let mut applied = Applied::new(&(service("a", "clusterIP: 192.0.2.1") + &pod_at("b", "192.0.2.1")));
    assert_eq!(applied.index.refusals(), applied.refusals);
    applied.index.reset_kind(Kind::Service, Vec::new());
    assert_eq!(applied.pod("b").ips, [ip("192.0.2.1")]);
    assert_eq!(applied.index.refusals(), []);
}
