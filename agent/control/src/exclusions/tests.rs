use std::collections::BTreeMap;

use model::{ExclusionList, Exclusions, Origin};

use super::{ExclusionConfig, PodExclusions};

const PORTS: &str = "millstream.dev/exclude-outbound-ports";
const CIDRS: &str = "millstream.dev/exclude-outbound-cidrs";

fn annotations(annotations: &[(&str, &str)]) -> BTreeMap<String, String> {
    annotations.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn allowing(lists: &[ExclusionList]) -> ExclusionConfig {
    ExclusionConfig { node: Exclusions::default(), allow_overrides: lists.iter().copied().collect() }
}

/// What is excluded, and the reasons of what is refused.
fn told(pod: &PodExclusions) -> (Vec<String>, Vec<String>) {
    let own = pod.own.iter().map(|(exclusion, _)| exclusion.what.to_string()).collect();
    (own, pod.refused.iter().map(|invalid| format!("{}: {}", invalid.field, invalid.reason)).collect())
}

#[test]
fn a_pod_excludes_what_it_may() {
    let nothing = (Vec::new(), Vec::new());
    assert_eq!(told(&PodExclusions::read(&BTreeMap::new(), None, &allowing(&[]))), nothing);

    let written = annotations(&[(PORTS, "80"), (CIDRS, "192.0.2.0/24")]);
    let refusal = |list: &str| {
        format!(
            "metadata.annotations[millstream.dev/{list}]: exclusions.allow-overrides of the node's configuration \
             does not name {list}; it is ignored"
        )
    };
    for (case, allowed, own, refused) in [
        (
            "nothing by default",
            &[][..],
            &[][..],
            &[refusal("exclude-outbound-cidrs"), refusal("exclude-outbound-ports")][..],
        ),
        ("one list", &[ExclusionList::OutboundPorts], &["80"], &[refusal("exclude-outbound-cidrs")]),
        ("both", &[ExclusionList::OutboundPorts, ExclusionList::OutboundCidrs], &["192.0.2.0/24", "80"], &[]),
    ] {
        let (got, reasons) = told(&PodExclusions::read(&written, None, &allowing(allowed)));
        assert_eq!(got, own, "{case}");
        assert_eq!(reasons, refused, "{case}");
    }
}

#[test]
fn what_makes_no_sense_leaves_what_was_there() {
    let config = allowing(&[ExclusionList::OutboundPorts, ExclusionList::OutboundCidrs]);
    let bad = annotations(&[(PORTS, "80,bananas"), (CIDRS, "192.0.2.0/24")]);
    let item = "item 2, \"bananas\", is not a port from 1 to 65535, nor a range like 8000-8010";
    let field = format!("metadata.annotations[{PORTS}]");

    let never_good = PodExclusions::read(&bad, None, &config);
    let reasons = vec![format!("{field}: {item}; it excludes nothing")];
    assert_eq!(told(&never_good), (vec!["192.0.2.0/24".to_owned()], reasons));

    let good =
        PodExclusions::read(&annotations(&[(PORTS, "443"), (CIDRS, "198.51.100.0/24")]), None, &config);
    let once_good = PodExclusions::read(&bad, Some(&good), &config);
    let reasons = vec![format!("{field}: {item}; what it said before stays in force")];
    assert_eq!(told(&once_good), (vec!["192.0.2.0/24".to_owned(), "443".to_owned()], reasons.clone()));
    // And stays for as long as it makes none.
    assert_eq!(told(&PodExclusions::read(&bad, Some(&once_good), &config)).1, reasons);

    let gone = PodExclusions::read(&BTreeMap::new(), Some(&once_good), &config);
    assert!(gone.own.is_empty(), "what nobody writes any more does not stay");
    let forbidden = PodExclusions::read(&bad, Some(&once_good), &allowing(&[]));
    assert!(forbidden.own.is_empty(), "what may not be there does not stay");
}

#[test]
fn all_is_the_pods_own() {
    let config = allowing(&[ExclusionList::OutboundPorts]);
    let pod = PodExclusions::read(&annotations(&[(PORTS, "80")]), None, &config);
    assert!(pod.own.iter().all(|(_, origin)| origin == Origin::Pod));
}
