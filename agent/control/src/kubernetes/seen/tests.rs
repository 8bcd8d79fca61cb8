use jiff::Timestamp;
use kube::api::DynamicObject;
use model::ObjectName;
use serde_json::{Value, json};

use super::super::{
    event::{Change, Topic},
    of::Of,
    view::View,
};
use crate::{
    entries::Entries,
    index::{Index, IndexConfig},
    kind::{Kind, ObjectKey},
    object::Object,
    service_entry::ServiceEntry,
};

const ENTRIES: Topic = Topic::Objects(Kind::ServiceEntry);

fn entry(name: &str, spec: &Value, status: &Value, managers: &Value) -> Object {
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": "shop", "uid": "u", "resourceVersion": "7", "managedFields": managers},
        "spec": spec, "status": status,
    });
    let DynamicObject { types: _, metadata, data } = serde_json::from_value(object).unwrap();
    Object::ServiceEntry(Box::new(ServiceEntry::read(metadata, &data)))
}

fn sound(name: &str) -> Object {
    entry(
        name,
        &json!({"hosts": [format!("{name}.example.com")], "resolution": "DNS"}),
        &Value::Null,
        &json!([]),
    )
}

/// One whose other watches stand.
fn view() -> View {
    let now = Timestamp::UNIX_EPOCH;
    let mut view = View::new(Of::Entries, Index::new(IndexConfig::default()), now);
    for topic in Of::Entries.always() {
        view.on(*topic, Change::Standing, now);
    }
    view.begin(Kind::ServiceEntry, now);
    view
}

fn tell(view: &mut View, changes: Vec<Change>) {
    changes.into_iter().for_each(|change| view.on(ENTRIES, change, Timestamp::UNIX_EPOCH));
}

fn list(objects: Vec<Object>) -> Vec<Change> {
    vec![Change::Listing, Change::Page(objects), Change::Listed, Change::Standing]
}

fn names(entries: &Entries) -> Vec<&str> {
    entries.entries.keys().map(|name| &*name.name).collect()
}

#[test]
fn they_are_told_once_they_are_known_and_go_with_their_kind() {
    let mut view = view();
    assert_eq!(view.entries(None), None, "there is such a kind, and nobody knows what of it there is");
    tell(&mut view, list(vec![sound("a"), sound("b")]));
    assert_eq!(names(&view.entries(None).unwrap()), ["a", "b"]);
    tell(&mut view, vec![Change::Applied(sound("c"))]);
    tell(&mut view, vec![Change::Deleted(ObjectKey::new(Kind::ServiceEntry, Some("shop"), "a"))]);
    assert_eq!(names(&view.entries(None).unwrap()), ["b", "c"]);
    tell(&mut view, list(vec![sound("b")]));
    tell(&mut view, vec![Change::Failed("gone".to_owned())]);
    let entries = view.entries(None).unwrap();
    assert_eq!(names(&entries), ["b"], "what was last known stays");
    assert_eq!(entries.hosts.into_iter().collect::<Vec<_>>(), [ObjectName::new("shop", "b.example.com")]);
    view.end(Kind::ServiceEntry);
    assert_eq!(names(&view.entries(None).unwrap()), [""; 0]);
}

#[test]
fn who_wrote_its_addresses_is_told_by_its_managed_fields() {
    let by = |manager: &str, fields: Value| json!([{"manager": manager, "operation": "Update", "fieldsV1": fields}]);
    let addresses = json!({"f:status": {".": {}, "f:addresses": {}}});
    for (name, managers, expected) in [
        ("nobody", json!([]), false),
        ("istiod", by("pilot-discovery", addresses.clone()), true),
        ("istiod something else", by("pilot-discovery", json!({"f:status": {"f:conditions": {}}})), false),
        ("us", by("millstream-controller", addresses), false),
        ("nonsense", by("pilot-discovery", json!([])), false),
    ] {
        let mut view = view();
        tell(
            &mut view,
            list(vec![entry("a", &json!({"hosts": ["a.example.com"]}), &Value::Null, &managers)]),
        );
        let entries = view.entries(None).unwrap();
        assert_eq!(entries.entries[&ObjectName::new("shop", "a")].is_istiods, expected, "{name}");
    }
}

#[test]
fn addresses_of_one_that_makes_no_sense_stay_its() {
    let status = json!({"addresses": [{"value": "240.240.0.7", "host": "a.example.com"}, {"value": 7}, 7]});
    let mut view = view();
    tell(&mut view, list(vec![entry("a", &json!({"hosts": 7}), &status, &json!([]))]));
    let entries = view.entries(None).unwrap();
    let seen = &entries.entries[&ObjectName::new("shop", "a")];
    assert_eq!((&seen.meaning, &seen.status), (&None, &Some(status)));
    let taken: Vec<_> = entries.taken.addresses.keys().map(ToString::to_string).collect();
    assert_eq!(taken, ["240.240.0.7"]);
}
