use std::{collections::BTreeSet, net::IpAddr};

use model::{Exclusions, OutboundPolicy, WhenAgentDown};

use super::{Actual, Terms, desire};
use crate::Family;

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn terms(when_agent_down: WhenAgentDown) -> Terms {
    Terms {
        when_agent_down,
        captures_dns: true,
        outbound_policy: OutboundPolicy::AllowAny,
        excludes: BTreeSet::new(),
    }
}

#[test]
fn each_family_turns_with_the_pods_own_source() {
    for (case, assigned, pod_ips, v4, v6) in [
        (
            "both families",
            &["127.0.0.1", "::1", "192.0.2.7", "2001:db8::7", "fe80::1"][..],
            &["192.0.2.7", "2001:db8::7"][..],
            Some("192.0.2.7"),
            Some("2001:db8::7"),
        ),
        ("IPv4 alone", &["127.0.0.1", "192.0.2.7"], &["192.0.2.7"], Some("192.0.2.7"), None),
        ("link-local is no source", &["192.0.2.7", "fe80::1"], &["192.0.2.7"], Some("192.0.2.7"), None),
        (
            "the address that Kubernetes knows before others",
            &["198.51.100.1", "192.0.2.7"],
            &["192.0.2.7"],
            Some("192.0.2.7"),
            None,
        ),
        (
            "an assigned one when the known one is not there",
            &["198.51.100.1"],
            &["192.0.2.7"],
            Some("198.51.100.1"),
            None,
        ),
        ("nothing to turn without an address", &["127.0.0.1"], &["192.0.2.7"], None, None),
    ] {
        let actual = Actual { assigned: ips(assigned), ..Actual::default() };
        let desired = desire(&actual, &ips(pod_ips), &terms(WhenAgentDown::Closed), &Exclusions::default());
        let source = |family| desired.families.get(&family).map(ToString::to_string);
        assert_eq!(source(Family::V4).as_deref(), v4, "{case}");
        assert_eq!(source(Family::V6).as_deref(), v6, "{case}");
    }
}

#[test]
fn a_family_that_lo_does_not_have_is_not_turned() {
    let assigned = ips(&["127.0.0.1", "192.0.2.7", "2001:db8::7"]);
    let actual = Actual { assigned, not_on_lo: [Family::V6].into(), ..Actual::default() };
    let desired = desire(&actual, &[], &terms(WhenAgentDown::Closed), &Exclusions::default());
    assert_eq!(desired.families.into_keys().collect::<Vec<_>>(), [Family::V4]);
}

#[test]
fn own_addresses_are_all_but_loopback() {
    let assigned = ips(&["127.0.0.1", "::1", "192.0.2.7", "fe80::1", "198.51.100.1"]);
    let desired = desire(
        &Actual { assigned, ..Actual::default() },
        &[],
        &terms(WhenAgentDown::Open),
        &Exclusions::default(),
    );
    assert_eq!(desired.own, ips(&["192.0.2.7", "198.51.100.1", "fe80::1"]).into_iter().collect());
    assert_eq!(desired.entry.when_agent_down, WhenAgentDown::Open);
}
