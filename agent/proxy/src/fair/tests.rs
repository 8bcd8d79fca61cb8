use super::*;

const SHARE: Share = Share { node: 1_000, pod: 980, reserve: 100 };

#[test]
fn a_pod_has_what_is_free_and_the_reserve_is_for_those_that_have_little() {
    for (name, node, pod, pods, wanted, expected) in [
        ("nothing is taken", 0, 0, 2, 1, Ok(())),
        ("alone, up to the reserve", 899, 899, 2, 1, Ok(())),
        ("alone, into the reserve", 900, 900, 2, 1, Err(Exceeded::Reserve)),
        ("a large piece that reaches into the reserve", 800, 800, 2, 101, Err(Exceeded::Reserve)),
        ("a neighbour that has none", 900, 0, 2, 1, Ok(())),
        ("a neighbour with less than its part", 905, 11, 2, 1, Ok(())),
        ("a neighbour with its part", 905, 12, 2, 1, Err(Exceeded::Reserve)),
        ("among more pods the part is smaller", 905, 2, 50, 1, Err(Exceeded::Reserve)),
        ("and never nothing", 905, 0, 5_000, 1, Ok(())),
        ("nothing is left", 1_000, 0, 2, 1, Err(Exceeded::Node)),
        ("its own limit", 980, 980, 1, 1, Err(Exceeded::Pod)),
        ("more than a number holds", 1, 1, 1, usize::MAX, Err(Exceeded::Pod)),
    ] {
        let admitted = SHARE.admit(Used { node, pod }, pods, wanted);
        assert_eq!(admitted.map_err(|denial| denial.exceeded), expected, "{name}");
    }
}

#[test]
fn whoever_comes_first_every_pod_gets_its_part() {
    for pods in [1, 2, 8, 20, 100] {
        let mut used = vec![0; pods];
        // Each takes all it can before the next may.
        for pod in 0..pods {
            loop {
                let now = Used { node: used.iter().sum(), pod: used[pod] };
                if SHARE.admit(now, pods, 1).is_err() {
                    break;
                }
                used[pod] += 1;
            }
        }
        let assured = SHARE.reserve / pods.max(FEWEST_PODS);
        assert!(used.iter().all(|&used| assured <= used), "{pods} pods have {used:?}");
        assert!(used.iter().sum::<usize>() <= SHARE.node, "{pods} pods have {used:?}");
    }
}

#[test]
fn a_denial_names_the_setting() {
    let used = Used { node: 905, pod: 900 };
    for (exceeded, names) in [
        (Exceeded::Pod, "limits.connections-per-pod allows, 980"),
        (Exceeded::Reserve, "the node 905 of limits.connections, 1000; the last 100"),
        (Exceeded::Node, "limits.connections allows, 1000"),
    ] {
        let text = Denial { exceeded, share: SHARE, used }.to_string();
        assert!(text.contains(names), "{text}");
    }
}
