use std::collections::BTreeMap;

use super::{LabelSelector, Selector};

fn selector(json: &str) -> Result<Selector, String> {
    let written: LabelSelector = serde_json::from_str(json).map_err(|e| e.to_string())?;
    Selector::try_from(written).map_err(|e| e.to_string())
}

#[test]
fn requirements_are_anded() {
    let labels: BTreeMap<String, String> =
        [("app", "cart"), ("tier", "back"), ("empty", "")].map(|(k, v)| (k.into(), v.into())).into();
    for (json, matches) in [
        (r#"{}"#, true),
        (r#"{"matchLabels": {"app": "cart"}}"#, true),
        (r#"{"matchLabels": {"app": "web"}}"#, false),
        (r#"{"matchLabels": {"app": "cart", "zone": "a"}}"#, false),
        (r#"{"matchLabels": {"empty": ""}}"#, true),
        (r#"{"matchLabels": {"zone": ""}}"#, false),
        (r#"{"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "cart"]}]}"#, true),
        (r#"{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}"#, false),
        (r#"{"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["cart"]}]}"#, false),
        (r#"{"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}"#, true),
        (r#"{"matchExpressions": [{"key": "app", "operator": "Exists"}]}"#, true),
        (r#"{"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}"#, false),
        (r#"{"matchExpressions": [{"key": "example.com/zone", "operator": "DoesNotExist"}]}"#, true),
        (
            r#"{"matchLabels": {"app": "cart"}, "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["back"]}]}"#,
            false,
        ),
    ] {
        assert_eq!(selector(json).map(|s| s.matches(&labels)), Ok(matches), "{json}");
    }
}

#[test]
fn what_makes_no_sense_is_an_error() {
    for (json, because) in [
        (r#"{"matchLabel": {"app": "cart"}}"#, "unknown field `matchLabel`"),
        (r#"{"matchExpressions": [{"key": "app", "operator": "In"}]}"#, "needs values"),
        (r#"{"matchExpressions": [{"key": "app", "operator": "NotIn", "values": []}]}"#, "needs values"),
        (
            r#"{"matchExpressions": [{"key": "app", "operator": "Exists", "values": ["a"]}]}"#,
            "takes no values",
        ),
        (
            r#"{"matchExpressions": [{"key": "app", "operator": "Equals", "values": ["a"]}]}"#,
            "unknown variant",
        ),
        (r#"{"matchExpressions": [{"operator": "Exists"}]}"#, "missing field `key`"),
        (r#"{"matchLabels": {"": "cart"}}"#, "not a label key"),
        (r#"{"matchLabels": {"a/b/c": "cart"}}"#, "not a label key"),
        (r#"{"matchLabels": {"app": "my cart"}}"#, "cannot be the value"),
    ] {
        let error = selector(json).expect_err(json);
        assert!(error.contains(because), "{json}: {error}");
    }
}
