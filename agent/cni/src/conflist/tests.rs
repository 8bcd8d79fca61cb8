use super::{Form, as_list, has_entry, types, with_entry, without_entry};
use crate::entry::{Entry, Own};

const PRETTY: &str = r#"{
  "name": "k8s-pod-network",
  "cniVersion": "0.3.1",
  "unknown": [1.0, 1e400, {"b": 1, "a": 2}],
  "plugins": [
    {
      "type": "calico", "mtu": 0,
      "ipam": { "type": "calico-ipam" }
    },
    {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}
  ] , "last": "\u00e9"
}
"#;

const COMPACT: &str = r#"{"cniVersion":"1.0.0","name":"kindnet","plugins":[{"type":"ptp"}]}"#;

fn ours() -> String {
    Entry::default().json().unwrap()
}

fn list(plugins: &str) -> String {
    format!("{{\"cniVersion\":\"1.0.0\",\"name\":\"n\",\"plugins\":[{plugins}]}}")
}

#[test]
fn the_entry_has_all_that_the_plugin_needs() {
    let expected = r#"{"type":"millstream-cni","capabilities":{"io.kubernetes.cri.pod-annotations":true},"runDir":"/run/millstream","stateDir":"/var/lib/millstream","own":{"namespace":"millstream-system","daemonSet":"millstream"},"whenUnknown":"allow","except":[],"statusGatesNode":false}"#;
    assert_eq!(ours(), expected);
}

#[test]
fn every_byte_of_others_stays() {
    for (name, text) in [
        ("pretty", PRETTY.to_owned()),
        ("compact", COMPACT.to_owned()),
        ("windows", PRETTY.replace('\n', "\r\n")),
        ("tabs", PRETTY.replace("  ", "\t")),
        ("odd space", list(" {\"type\":\"a\"}\n,\t{\"type\":\"b\"} ")),
        ("a bracket in a string", list(r#"{"type":"a","x":"]},{\"type\":\"millstream-cni\"}"}"#)),
        ("escaped keys", r#"{"cniVersion":"1.0.0","name":"n","plug\u0069ns":[{"type":"a"}]}"#.to_owned()),
    ] {
        let with = with_entry(&text, &Entry::default()).unwrap();
        assert!(has_entry(&with), "{name}");
        assert_eq!(with.matches(&ours()).count(), 1, "{name}");
        assert_eq!(types(&with), types(&text), "{name}");
        assert_eq!(without_entry(&with).unwrap(), text, "{name}");
        assert_eq!(with_entry(&with, &Entry::default()).unwrap(), with, "{name}, twice");
    }
    let with = with_entry(PRETTY, &Entry::default()).unwrap();
    let before = "{\"type\": \"portmap\", \"snat\": true, \"capabilities\": {\"portMappings\": true}}";
    assert!(with.contains(&format!("{before},\n    {}\n  ] , \"last\"", ours())), "{with}");
}

#[test]
fn there_is_one_entry_last_and_up_to_date() {
    let a = r#"{"type":"a"}"#;
    let b = r#"{"type":"b"}"#;
    let old = r#"{"type":"millstream-cni","runDir":"/old"}"#;
    let ours = ours();
    let expected = list(&format!("{a},{b},{ours}"));
    for (name, plugins) in [
        ("none", format!("{a},{b}")),
        ("as it should be", format!("{a},{b},{ours}")),
        ("old", format!("{a},{b},{old}")),
        ("first", format!("{ours},{a},{b}")),
        ("in the middle", format!("{a},{ours},{b}")),
        ("thrice", format!("{old},{a},{ours},{b},{old}")),
        ("twice at the end", format!("{a},{b},{ours},{ours}")),
    ] {
        assert_eq!(with_entry(&list(&plugins), &Entry::default()).unwrap(), expected, "{name}");
        assert_eq!(without_entry(&list(&plugins)).unwrap(), list(&format!("{a},{b}")), "{name}");
    }
    let spaced = list(&format!("{a},{}", ours.replace(':', " : ")));
    assert_eq!(with_entry(&spaced, &Entry::default()).unwrap(), spaced, "only spaced otherwise");
    let own = Own { namespace: "mesh".to_owned(), ..Own::default() };
    let changed = with_entry(&expected, &Entry { own, ..Entry::default() }).unwrap();
    assert!(
        changed.contains("\"namespace\":\"mesh\"") && !changed.contains("millstream-system"),
        "{changed}"
    );
}

#[test]
fn a_single_plugin_becomes_a_chain() {
    for (name, conf, version) in [
        ("no version", r#"{"name":"net","type":"bridge"}"#, "0.3.1"),
        ("an empty version", r#"{"cniVersion":"","name":"net","type":"bridge"}"#, "0.3.1"),
        (
            "a version",
            "\n{\"cniVersion\":\"0.4.0\",\"name\":\"net\",\"type\":\"bridge\",\"x\":1.0}\n",
            "0.4.0",
        ),
    ] {
        let list = as_list(conf, Form::Single).unwrap();
        assert!(list.contains(conf.trim()), "{name}: {list}");
        assert!(list.contains(&format!("\"cniVersion\": \"{version}\"")), "{name}: {list}");
        let with = with_entry(&list, &Entry::default()).unwrap();
        assert_eq!(types(&with), ["bridge"], "{name}");
        assert_eq!(without_entry(&with).unwrap(), list, "{name}");
    }
}

#[test]
fn what_is_malformed_is_refused_with_a_reason() {
    use Form::{List, Single};
    for (name, text, form, expected) in [
        ("empty", String::new(), List, "is empty"),
        ("blank", " \n".to_owned(), Single, "is empty"),
        ("not JSON", "name: net".to_owned(), List, "is no JSON object"),
        ("cut off", PRETTY[..PRETTY.len() / 2].to_owned(), List, "is no JSON object"),
        ("two documents", COMPACT.repeat(2), List, "is no JSON object"),
        ("a list", "[]".to_owned(), List, "is no JSON object"),
        ("no name", r#"{"plugins":[{"type":"a"}]}"#.to_owned(), List, "has no \"name\""),
        ("an empty name", r#"{"name":"","plugins":[{"type":"a"}]}"#.to_owned(), List, "has no \"name\""),
        ("a number for a name", r#"{"name":5,"plugins":[{"type":"a"}]}"#.to_owned(), List, "has no \"name\""),
        ("no plugins", r#"{"name":"n"}"#.to_owned(), List, "has no \"plugins\""),
        ("a single in a list's clothes", r#"{"name":"n","type":"a"}"#.to_owned(), List, "has no \"plugins\""),
        ("empty plugins", list(""), List, "has no \"plugins\" beside ours"),
        ("only ours", list(&ours()), List, "has no \"plugins\" beside ours"),
        ("plugins an object", r#"{"name":"n","plugins":{}}"#.to_owned(), List, "that are no list"),
        ("plugins null", r#"{"name":"n","plugins":null}"#.to_owned(), List, "that are no list"),
        ("a plugin without type", list(r#"{"type":"a"},{}"#), List, "without \"type\" (number 2)"),
        ("a plugin that is a string", list(r#""a""#), List, "without \"type\" (number 1)"),
        ("a list in a single's clothes", COMPACT.to_owned(), Single, "without \"type\""),
        ("a single without name", r#"{"type":"a"}"#.to_owned(), Single, "has no \"name\""),
    ] {
        let error = as_list(&text, form).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn a_version_that_we_do_not_speak_is_not_joined() {
    let of = |versions: &str| format!("{{{versions}\"name\":\"n\",\"plugins\":[{{\"type\":\"a\"}}]}}");
    for (versions, joined) in [
        (r#""cniVersion":"0.3.0","#, true),
        (r#""cniVersion":"1.1.0","#, true),
        (r#""cniVersions":["0.2.0","1.0.0"],"#, true),
        (r#""cniVersion":"1.0.0","cniVersions":["1.0.0","1.2.0"],"#, false),
        (r#""cniVersion":"0.2.0","#, false),
        (r#""cniVersion":"2.0.0","#, false),
        (r#""cniVersion":"new","#, false),
        (r#""cniVersion":"","#, false),
        ("", false),
    ] {
        let result = with_entry(&of(versions), &Entry::default());
        assert_eq!(result.is_ok(), joined, "{versions} {result:?}");
        assert!(joined || result.unwrap_err().to_string().contains("set its \"cniVersion\""), "{versions}");
    }
}
