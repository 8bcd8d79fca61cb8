use std::collections::BTreeMap;

use model::{Enrolment, ExistingConnections, Uncaptured, WhenAgentDown};

use super::{EnablementSelector, EnrolmentConfig, PodFacts, decide, existing_connections, when_agent_down};

fn labels(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn mode(value: Option<&str>) -> BTreeMap<String, String> {
    value.map(|value| (super::DATAPLANE_MODE.to_owned(), value.to_owned())).into_iter().collect()
}

fn facts(labels: &BTreeMap<String, String>) -> PodFacts<'_> {
    PodFacts {
        namespace: "shop",
        labels,
        host_network: false,
        has_sidecar: false,
        is_terminal: false,
        has_address: true,
    }
}

fn selectors(json: &str) -> Result<EnrolmentConfig, String> {
    let written: Vec<EnablementSelector> = serde_json::from_str(json).map_err(|e| e.to_string())?;
    EnrolmentConfig::new(Some(written), []).map_err(|e| format!("{e}: {}", e.source))
}

#[test]
fn the_label_of_the_pod_goes_before_that_of_the_namespace() {
    let by_pod = Enrolment::Enrolled("pod label istio.io/dataplane-mode=ambient".into());
    let by_namespace = Enrolment::Enrolled("namespace label istio.io/dataplane-mode=ambient".into());
    let opted_out = Enrolment::NotEnrolled(Uncaptured::OptedOut);
    let no_label = Enrolment::NotEnrolled(Uncaptured::NoLabel);
    for (pod, namespace, expected) in [
        (None, None, &no_label),
        (None, Some("ambient"), &by_namespace),
        (None, Some("none"), &no_label),
        (Some("ambient"), None, &by_pod),
        (Some("ambient"), Some("none"), &by_pod),
        (Some("ambient"), Some("ambient"), &by_pod),
        (Some("none"), Some("ambient"), &opted_out),
        (Some("none"), None, &opted_out),
        // Only `none` opts out, and only `ambient`, so spelled, opts in.
        (Some("off"), Some("ambient"), &by_namespace),
        (Some(""), Some("ambient"), &by_namespace),
        (Some("Ambient"), None, &no_label),
        (None, Some("AMBIENT"), &no_label),
        (None, Some("true"), &no_label),
    ] {
        let pod_labels = mode(pod);
        let got = decide(&facts(&pod_labels), &mode(namespace), &EnrolmentConfig::default());
        assert_eq!(got, *expected, "pod {pod:?}, namespace {namespace:?}");
    }
}

#[test]
fn some_pods_are_never_captured() {
    let labels = mode(Some("ambient"));
    let pod = facts(&labels);
    for (pod, why) in [
        (
            PodFacts { host_network: true, ..pod },
            Uncaptured::HostNetwork {
                asked_by: Some("pod label istio.io/dataplane-mode=ambient".to_owned()),
            },
        ),
        (PodFacts { has_sidecar: true, ..pod }, Uncaptured::Sidecar),
        (PodFacts { is_terminal: true, ..pod }, Uncaptured::Terminal),
        (PodFacts { has_address: false, ..pod }, Uncaptured::NoAddress),
        (PodFacts { namespace: "kube-system", ..pod }, Uncaptured::ExcludedNamespace),
        // These two say that the addresses are not the pod's own.
        (
            PodFacts { host_network: true, is_terminal: true, namespace: "kube-system", ..pod },
            Uncaptured::HostNetwork { asked_by: None },
        ),
        (
            PodFacts { is_terminal: true, namespace: "kube-system", has_sidecar: true, ..pod },
            Uncaptured::Terminal,
        ),
    ] {
        let got = decide(&pod, &mode(Some("ambient")), &EnrolmentConfig::default());
        assert_eq!(got, Enrolment::NotEnrolled(why), "{pod:?}");
    }
    let unlabelled = BTreeMap::new();
    let waiting = PodFacts { has_address: false, ..facts(&unlabelled) };
    assert_eq!(
        decide(&waiting, &BTreeMap::new(), &EnrolmentConfig::default()),
        Enrolment::NotEnrolled(Uncaptured::NoLabel),
        "a pod that nobody asks to capture does not wait for an address"
    );
}

#[test]
fn selectors_replace_the_default_rule() {
    let config = selectors(
        r#"[{"podSelector": {"matchLabels": {"mesh": "yes"}}},
            {"podSelector": {"matchExpressions": [{"key": "mesh", "operator": "NotIn", "values": ["no"]}]},
             "namespaceSelector": {"matchLabels": {"team": "shop"}}}]"#,
    )
    .unwrap();
    for (pod, namespace, by) in [
        (&[("mesh", "yes")][..], &[][..], Some(0)),
        (&[("mesh", "yes")], &[("team", "shop")], Some(0)),
        (&[], &[("team", "shop")], Some(1)),
        (&[("mesh", "no")], &[("team", "shop")], None),
        (&[], &[("team", "bank")], None),
        (&[("istio.io/dataplane-mode", "ambient")], &[("istio.io/dataplane-mode", "ambient")], None),
    ] {
        let pod_labels = labels(pod);
        let expected = match by {
            Some(n) => Enrolment::Enrolled(format!("configuration enablementSelectors[{n}]")),
            None => Enrolment::NotEnrolled(Uncaptured::NoSelector),
        };
        assert_eq!(
            decide(&facts(&pod_labels), &labels(namespace), &config),
            expected,
            "{pod:?} {namespace:?}"
        );
    }

    let nothing = EnrolmentConfig::new(Some(vec![]), []).unwrap();
    let ambient = mode(Some("ambient"));
    assert!(matches!(decide(&facts(&ambient), &ambient, &nothing), Enrolment::NotEnrolled(_)));
    let everything = selectors("[{}]").unwrap();
    assert!(matches!(
        decide(&facts(&BTreeMap::new()), &BTreeMap::new(), &everything),
        Enrolment::Enrolled(_)
    ));
}

#[test]
fn an_invalid_selector_names_its_place() {
    let error = selectors(
        r#"[{}, {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In"}]}}]"#,
    )
    .unwrap_err();
    assert_eq!(
        error,
        "cannot use enablementSelectors[1].namespaceSelector: operator In on label team needs values"
    );
    assert!(selectors(r#"[{"podSelectors": {}}]"#).unwrap_err().contains("unknown field"));
}

#[test]
fn when_the_agent_is_down_the_safe_way_is_the_default() {
    let annotated = |value: &str| labels(&[("millstream.dev/when-agent-down", value)]);
    assert_eq!(when_agent_down(&BTreeMap::new()), Ok(None));
    assert_eq!(when_agent_down(&annotated("closed")), Ok(Some(WhenAgentDown::Closed)));
    assert_eq!(when_agent_down(&annotated("open")), Ok(Some(WhenAgentDown::Open)));
    for unknown in ["Open", "", "true"] {
        let invalid = when_agent_down(&annotated(unknown)).unwrap_err();
        assert_eq!(invalid.field, "metadata.annotations[millstream.dev/when-agent-down]");
    }
}

#[test]
fn connections_are_kept_unless_somebody_says_otherwise() {
    let annotated = |value: &str| labels(&[("millstream.dev/existing-connections", value)]);
    assert_eq!(existing_connections(&BTreeMap::new()), Ok(None));
    assert_eq!(existing_connections(&annotated("keep")), Ok(Some(ExistingConnections::Keep)));
    assert_eq!(existing_connections(&annotated("reset")), Ok(Some(ExistingConnections::Reset)));
    for unknown in ["Reset", "", "true"] {
        let invalid = existing_connections(&annotated(unknown)).unwrap_err();
        assert_eq!(invalid.field, "metadata.annotations[millstream.dev/existing-connections]");
    }
}
