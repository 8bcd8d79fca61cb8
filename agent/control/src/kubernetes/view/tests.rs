use jiff::Timestamp;

use super::View;
use crate::{
    index::{Index, IndexConfig},
    kind::{Kind, ObjectKey, PolicyKind},
    kubernetes::{
        event::{Change, Topic},
        of::Of,
    },
    manifest,
    object::Object,
    source::InForce,
};

const PODS: Topic = Topic::Objects(Kind::Pod);
const CILIUM: Topic = Topic::Objects(Kind::Policy(PolicyKind::Cilium));

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn view() -> View {
    View::new(Of::Agent, Index::new(IndexConfig::default()), at(0))
}

/// One in which every watch stands, and told nothing.
fn synced() -> View {
    let mut view = view();
    for topic in Of::Agent.always().iter().copied() {
        view.on(topic, Change::Standing, at(1));
    }
    view
}

fn pod(name: &str, ip: &str) -> Object {
    let yaml = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, status: {{podIP: {ip}}}}}");
    manifest::parse(&yaml).remove(0).unwrap().object
}

fn pods(view: &View) -> String {
    let snapshot = view.snapshot(1);
    let pods = snapshot.pods().into_iter().map(|pod| format!("{} {}", pod.name.name, pod.ips[0]));
    pods.collect::<Vec<_>>().join(", ")
}

fn list(objects: Vec<Object>) -> Vec<Change> {
    let pages = objects.into_iter().map(|object| Change::Page(vec![object]));
    [Change::Listing].into_iter().chain(pages).chain([Change::Listed]).collect()
}

#[test]
fn nothing_is_concluded_before_every_watch_has_stood() {
    for missing in Of::Agent.always().iter().copied() {
        let mut view = view();
        for topic in Of::Agent.always().iter().copied().filter(|topic| *topic != missing) {
            assert!(!view.is_synced(), "{missing} and {topic}");
            view.on(topic, Change::Standing, at(1));
        }
        assert!(!view.is_synced(), "{missing}");
        for change in list(Vec::new()) {
            view.on(missing, change, at(2));
        }
        assert!(!view.is_synced(), "{missing}: listed, but a change would not be told");
        let [trouble] = &view.report().troubles[..] else { panic!("{missing}") };
        assert_eq!((trouble.watch.clone(), trouble.since), (missing.to_string(), at(0)));
        view.on(missing, Change::Standing, at(3));
        assert!(view.is_synced() && view.report().troubles.is_empty(), "{missing}");
        view.on(missing, Change::Failed("gone".to_owned()), at(4));
        assert!(view.is_synced(), "{missing}: what is known stays");
    }
}

#[test]
fn a_list_replaces_its_kind_at_one_stroke() {
    for (name, changes, expected) in [
        ("begun", list(vec![])[..1].len(), "a 192.0.2.1, b 192.0.2.2"),
        ("half", 2, "a 192.0.2.1, b 192.0.2.2"),
        ("all but the end", 3, "a 192.0.2.1, b 192.0.2.2"),
        ("whole", 4, "b 192.0.2.1, c 192.0.2.3"),
    ] {
        let mut view = synced();
        for change in list(vec![pod("a", "192.0.2.1"), pod("b", "192.0.2.2")]) {
            view.on(PODS, change, at(2));
        }
        for change in list(vec![pod("b", "192.0.2.1"), pod("c", "192.0.2.3")]).into_iter().take(changes) {
            view.on(PODS, change, at(3));
        }
        assert_eq!(pods(&view), expected, "{name}");
    }
}

#[test]
fn a_list_that_broke_off_leaves_nothing_behind() {
    let mut view = synced();
    for change in list(vec![pod("a", "192.0.2.1"), pod("b", "192.0.2.2")]).into_iter().take(2) {
        view.on(PODS, change, at(2));
    }
    view.on(PODS, Change::Failed("the connection broke".to_owned()), at(3));
    for change in list(vec![pod("b", "192.0.2.2")]) {
        view.on(PODS, change, at(4));
    }
    assert_eq!(pods(&view), "b 192.0.2.2");
    assert_eq!(view.report().refusals, []);
}

#[test]
fn a_list_of_one_kind_is_about_no_other() {
    let mut view = synced();
    view.on(PODS, Change::Applied(pod("a", "192.0.2.1")), at(2));
    for change in list(Vec::new()) {
        view.on(Topic::Objects(Kind::Service), change, at(3));
    }
    assert_eq!(pods(&view), "a 192.0.2.1");
}

#[test]
fn what_is_wrong_is_told_while_it_is_so() {
    let refused = |view: &View| view.report().refusals.iter().map(ToString::to_string).collect::<Vec<_>>();
    let taken = "Pod default/b: status.podIPs: address 192.0.2.1 is already that of Pod default/a";
    let mut view = synced();
    view.on(PODS, Change::Applied(pod("a", "192.0.2.1")), at(2));
    view.on(PODS, Change::Applied(pod("b", "192.0.2.1")), at(2));
    view.on(PODS, Change::Applied(pod("c", "bananas")), at(2));
    assert_eq!(refused(&view), [taken, "Pod default/c: status.podIP: \"bananas\" is not an IP address"]);
    view.on(PODS, Change::Applied(pod("c", "192.0.2.3")), at(3));
    assert_eq!(refused(&view), [taken]);
    for change in list(vec![pod("a", "192.0.2.1"), pod("b", "192.0.2.1")]) {
        view.on(PODS, change, at(4));
    }
    assert_eq!(refused(&view), [taken]);
    view.on(PODS, Change::Deleted(ObjectKey::new(Kind::Pod, None, "a")), at(5));
    assert_eq!(refused(&view), [""; 0]);
    assert_eq!(pods(&view), "b 192.0.2.1");
}

#[test]
fn a_kind_of_policies_comes_and_goes() {
    let yaml = "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: all}, \
                spec: {endpointSelector: {}}}";
    let policy = manifest::parse(yaml).remove(0).unwrap().object;
    let policed = |view: &View| view.snapshot(1).pods()[0].policed_by.is_some();
    let mut view = synced();
    view.on(PODS, Change::Applied(pod("a", "192.0.2.1")), at(2));
    view.on(CILIUM, Change::Applied(policy.clone()), at(2));
    assert!(!policed(&view), "of a kind that is not watched nothing is taken");
    view.begin(Kind::Policy(PolicyKind::Cilium), at(3));
    assert!(view.is_synced(), "the others go on");
    assert_eq!(view.snapshot(1).pods()[0].policed_by.as_deref(), Some("CiliumNetworkPolicy not known yet"));
    assert_eq!(
        view.report().troubles[0].to_string(),
        "the API server has been asked for CiliumNetworkPolicies at 1970-01-01T00:00:03Z; until they are known, one is \
         taken to select every pod"
    );
    for change in list(Vec::new()) {
        view.on(CILIUM, change, at(4));
    }
    assert!(!policed(&view), "now it is known that there is none");
    view.on(CILIUM, Change::Standing, at(4));
    for change in list(vec![policy]) {
        view.on(CILIUM, change, at(4));
    }
    assert!(policed(&view));
    view.end(Kind::Policy(PolicyKind::Cilium));
    assert!(!policed(&view) && view.report().troubles.is_empty());
}

#[test]
fn service_entries_come_and_go() {
    let yaml = "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: a}, \
                spec: {hosts: [a.example.com]}}";
    let entry = manifest::parse(yaml).remove(0).unwrap().object;
    let topic = Topic::Objects(Kind::ServiceEntry);
    let mut view = synced();
    view.begin(Kind::ServiceEntry, at(3));
    assert!(view.is_synced() && view.snapshot(1).service_count() == 0, "the others go on");
    assert_eq!(
        view.report().troubles[0].to_string(),
        "the API server has been asked for ServiceEntries at 1970-01-01T00:00:03Z; until they are known, the agent \
         does without"
    );
    for change in list(vec![entry]) {
        view.on(topic, change, at(4));
    }
    view.on(topic, Change::Standing, at(4));
    assert_eq!(view.snapshot(1).services_of_host("a.example.com").count(), 1);
    assert!(view.report().troubles.is_empty());
    view.end(Kind::ServiceEntry);
    assert_eq!(view.snapshot(1).service_count(), 0);
}

#[test]
fn a_trouble_is_one_sentence() {
    let mut view = view();
    let said = |view: &View| {
        let troubles = view.report().troubles;
        troubles.iter().find(|trouble| trouble.watch == "EndpointSlices").unwrap().to_string()
    };
    let slices = Topic::Objects(Kind::EndpointSlice);
    assert_eq!(
        said(&view),
        "the API server has been asked for EndpointSlices at 1970-01-01T00:00:00Z; nothing is known of them yet, so \
         the agent is not ready"
    );
    view.on(slices, Change::Failed("forbidden".to_owned()), at(7));
    assert_eq!(
        said(&view),
        "cannot watch EndpointSlices (since 1970-01-01T00:00:00Z): forbidden; nothing is known of them yet, so the \
         agent is not ready"
    );
    view.on(slices, Change::Standing, at(8));
    view.on(slices, Change::Failed("connection refused".to_owned()), at(9));
    view.on(slices, Change::Failed("timed out".to_owned()), at(10));
    assert_eq!(
        said(&view),
        "cannot watch EndpointSlices (since 1970-01-01T00:00:09Z): timed out; what was last known of them stays in \
         force"
    );
}

#[test]
fn where_services_get_their_addresses_is_not_waited_for() {
    let mut view = View::new(Of::Entries, Index::new(IndexConfig::default()), at(0));
    let topic = Topic::Objects(Kind::ServiceCidr);
    for (n, topic) in Of::Entries.always().iter().copied().enumerate() {
        assert!(!view.is_synced());
        view.on(topic, Change::Standing, at(1));
        if n == 0 {
            view.begin(Kind::ServiceCidr, at(1));
        }
    }
    view.on(topic, Change::Failed("forbidden".to_owned()), at(2));
    assert!(view.is_synced() && view.entries(None).is_some());
    let [trouble] = &view.report().troubles[..] else { panic!("{:?}", view.report()) };
    let expected = "ServiceCIDRs";
    assert!(trouble.watch == expected && trouble.in_force == InForce::Without, "{trouble}");
}
