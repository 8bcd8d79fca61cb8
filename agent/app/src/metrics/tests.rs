use super::*;

#[test]
fn what_is_not_as_it_should_be_has_a_series_of_its_own() {
    let facts = Facts {
        version: "0.1.0".to_owned(),
        ready: true,
        states: vec![PodState::Captured, PodState::Captured, PodState::Failed, PodState::NotEnrolled],
        uncaptured: vec![
            (ObjectName::new("shop", "cart"), Cause::NetnsNotFound),
            (ObjectName::new("kube-system", "proxy"), Cause::HostNetwork),
        ],
        open: 3,
        ended: vec![(Reason::ALL[0], 17)],
        queries: vec![(QueryOutcome::Answered, 5)],
        refusals: 1,
        troubles: vec!["EndpointSlices".to_owned()],
    };
    let page = page(&facts).unwrap();
    for line in [
        "# TYPE millstream_pods gauge",
        r#"millstream_build_info{version="0.1.0"} 1"#,
        "millstream_ready 1",
        r#"millstream_pods{state="captured"} 2"#,
        r#"millstream_pods{state="failed"} 1"#,
        r#"millstream_pods{state="pending"} 0"#,
        r#"millstream_uncaptured_pods{namespace="shop",pod="cart",reason="netns-not-found"} 1"#,
        r#"millstream_uncaptured_pods{namespace="kube-system",pod="proxy",reason="host-network"} 1"#,
        "millstream_connections 3",
        &format!(r#"millstream_connections_ended_total{{reason="{}"}} 17"#, Reason::ALL[0]),
        r#"millstream_dns_queries_total{outcome="answered"} 5"#,
        "millstream_source_refusals 1",
        r#"millstream_source_troubles{watch="EndpointSlices"} 1"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    assert!(page.ends_with("# EOF\n"), "{page}");
}

#[test]
fn what_is_gone_leaves_no_series() {
    let page = page(&Facts::default()).unwrap();
    assert!(!page.contains("uncaptured_pods{"), "{page}");
    assert!(!page.contains("source_troubles{"), "{page}");
}
