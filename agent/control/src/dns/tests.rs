use super::*;

fn wishes(annotations: &[(&str, &str)], spec: &str, host_network: bool) -> (DnsWishes, Option<Invalid>) {
    let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let mut spec: serde_json::Value = serde_saphyr::from_str(spec).unwrap();
    spec["containers"] = serde_json::json!([]);
    let spec: PodSpec = serde_json::from_value(spec).unwrap();
    DnsWishes::read(&annotations, Some(&spec), host_network)
}

#[test]
fn the_search_list_is_what_the_kubelet_writes() {
    const CLUSTER: &[&str] = &["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"];
    for (name, spec, host_network, expected) in [
        ("nothing said", "{}", false, CLUSTER),
        ("ClusterFirst", "{dnsPolicy: ClusterFirst}", false, CLUSTER),
        ("in the host's network", "{dnsPolicy: ClusterFirst}", true, &[]),
        (
            "in the host's network, and the cluster's all the same",
            "{dnsPolicy: ClusterFirstWithHostNet}",
            true,
            CLUSTER,
        ),
        ("the node's", "{dnsPolicy: Default}", false, &[]),
        (
            "the pod's own",
            "{dnsPolicy: None, dnsConfig: {searches: [Example.com., example.org]}}",
            false,
            &["example.com", "example.org"],
        ),
        (
            "both, each once",
            "{dnsConfig: {searches: [example.com, svc.cluster.local]}}",
            false,
            &["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com"],
        ),
    ] {
        let (wishes, objection) = wishes(&[], spec, host_network);
        assert_eq!(objection, None, "{name}");
        let dns = wishes.of_pod("shop", &DnsConfig::default());
        assert_eq!(dns.search.iter().map(|s| &**s).collect::<Vec<_>>(), expected, "{name}");
    }
}

#[test]
fn the_pod_decides_before_the_node() {
    for (annotation, node, captured) in [
        (None, true, true),
        (None, false, false),
        (Some("true"), false, true),
        (Some("false"), true, false),
        (Some("no"), true, true),
    ] {
        let annotations: Vec<_> = annotation.map(|value| (CAPTURE, value)).into_iter().collect();
        let (wishes, objection) = wishes(&annotations, "{}", false);
        assert_eq!(objection.is_some(), annotation == Some("no"), "{annotation:?}");
        let config = DnsConfig { capture: node, ..DnsConfig::default() };
        assert_eq!(wishes.of_pod("shop", &config).captured, captured, "{annotation:?}, {node}");
    }
}
