use std::{collections::BTreeSet, net::IpAddr};

use model::{
    Exclusion, ExclusionList, Exclusions, Origin, OutboundPolicy,
    WhenAgentDown::{self, Closed, Open},
};

use super::{Change, Step, plan};
use crate::{
    Family,
    desired::{Actual, Desired, Terms, desire},
    exclusions::entries,
};

const SYSCTL: &str = "net/ipv4/fwmark_reflect";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A pod that nobody has touched.
fn fresh() -> Actual {
    Actual {
        sysctls: [(SYSCTL.to_owned(), "0".to_owned())].into(),
        assigned: vec![ip("127.0.0.1"), ip("192.0.2.7")],
        interfaces: [(2, "eth0".to_owned())].into(),
        ..Actual::default()
    }
}

/// The same pod, captured.
fn captured() -> Actual {
    Actual {
        sysctls: [(SYSCTL.to_owned(), "1".to_owned())].into(),
        rules: BTreeSet::from([Family::V4]),
        routes: [(Family::V4, Some(ip("192.0.2.7")))].into(),
        own: BTreeSet::from([ip("192.0.2.7")]),
        listening: true,
        steered: true,
        guarded: BTreeSet::from([2]),
        entry: Some(terms(Closed, &[])),
        ..fresh()
    }
}

fn desired() -> Desired {
    desire(&fresh(), &[ip("192.0.2.7")], &terms(Closed, &[]), &Exclusions::default())
}

fn terms(when_agent_down: WhenAgentDown, excludes: &[ExclusionList]) -> Terms {
    Terms {
        when_agent_down,
        captures_dns: true,
        outbound_policy: OutboundPolicy::AllowAny,
        excludes: excludes.iter().copied().collect(),
    }
}

#[test]
fn a_fresh_pod_begins_to_be_captured_last() {
    let source = ip("192.0.2.7");
    let sysctl = Change::Sysctl { name: SYSCTL.to_owned(), before: "0".to_owned(), after: "1".to_owned() };
    assert_eq!(
        plan(&fresh(), &desired()),
        vec![
            Step::Change(sysctl),
            Step::Change(Change::Route { family: Family::V4, source }),
            Step::Change(Change::Rule { family: Family::V4 }),
            Step::AddOwnAddress(source),
            Step::Listen,
            Step::Steer,
            Step::Guard { ifindex: 2, interface: "eth0".to_owned() },
            Step::Begin { before: None, terms: terms(Closed, &[]) },
        ]
    );
}

#[test]
fn what_is_there_is_not_done_again() {
    let source = ip("192.0.2.7");
    for (case, actual, steps) in [
        ("captured: nothing", captured(), vec![]),
        (
            "after a restart of the agent: listeners and programs",
            Actual { listening: false, steered: false, guarded: BTreeSet::new(), ..captured() },
            vec![Step::Listen, Step::Steer, Step::Guard { ifindex: 2, interface: "eth0".to_owned() }],
        ),
        (
            "another interface in place of the first",
            Actual { guarded: BTreeSet::from([3]), ..captured() },
            vec![Step::Guard { ifindex: 2, interface: "eth0".to_owned() }, Step::ForgetGuard { ifindex: 3 }],
        ),
        (
            "somebody deleted the rule",
            Actual { rules: BTreeSet::new(), ..captured() },
            vec![Step::Change(Change::Rule { family: Family::V4 })],
        ),
        (
            "the address changed",
            Actual {
                own: BTreeSet::from([ip("198.51.100.1")]),
                routes: [(Family::V4, Some(ip("198.51.100.1")))].into(),
                ..captured()
            },
            vec![
                Step::Change(Change::Route { family: Family::V4, source }),
                Step::AddOwnAddress(source),
                Step::RemoveOwnAddress(ip("198.51.100.1")),
            ],
        ),
        (
            "the namespace asks for another mode",
            Actual { entry: Some(terms(Open, &[])), ..captured() },
            vec![Step::Begin { before: Some(terms(Open, &[])), terms: terms(Closed, &[]) }],
        ),
        (
            "enrolled again while being released",
            Actual { entry: None, ..captured() },
            vec![Step::Begin { before: None, terms: terms(Closed, &[]) }],
        ),
    ] {
        assert_eq!(plan(&actual, &desired()), steps, "{case}");
    }
}

/// What is excluded before and after stays so, and nothing else ever is: an entry counts only while its list is in
/// force.
#[test]
fn exclusions_change_without_a_gap() {
    use ExclusionList::{InboundPorts, OutboundPorts};
    let excluded = |list, text: &str| Exclusions::parse(list, text, Origin::Pod).unwrap();
    let one = |list, text: &str| entries(&excluded(list, text)).pop_first().unwrap();
    let (http, https) = (one(OutboundPorts, "80"), one(OutboundPorts, "443"));
    let both = one(OutboundPorts, "80-81");
    let nothing = || Exclusions::default();
    let begin = |before: Option<&[ExclusionList]>, after: &[ExclusionList]| Step::Begin {
        before: before.map(|lists| terms(Closed, lists)),
        terms: terms(Closed, after),
    };
    let with = |entry: Option<&[ExclusionList]>, exclusions: &[Exclusion]| Actual {
        entry: entry.map(|lists| terms(Closed, lists)),
        exclusions: exclusions.iter().copied().collect(),
        ..captured()
    };
    for (case, actual, desired, steps) in [
        (
            "the first: the entry before the list is in force",
            with(Some(&[]), &[]),
            excluded(OutboundPorts, "80"),
            vec![Step::Exclude(http), begin(Some(&[]), &[OutboundPorts])],
        ),
        (
            "the last: the list is out of force before the entry goes",
            with(Some(&[OutboundPorts]), &[http]),
            nothing(),
            vec![begin(Some(&[OutboundPorts]), &[]), Step::Include(http)],
        ),
        (
            "another: the new one before the old one goes",
            with(Some(&[OutboundPorts]), &[http]),
            excluded(OutboundPorts, "443"),
            vec![Step::Exclude(https), Step::Include(http)],
        ),
        (
            "the same in another form",
            with(Some(&[OutboundPorts]), &[http]),
            excluded(OutboundPorts, "80-81"),
            vec![Step::Exclude(both), Step::Include(http)],
        ),
        (
            "one list for another",
            with(Some(&[OutboundPorts]), &[http]),
            excluded(InboundPorts, "80"),
            vec![
                Step::Exclude(one(InboundPorts, "80")),
                begin(Some(&[OutboundPorts]), &[InboundPorts]),
                Step::Include(http),
            ],
        ),
        (
            "an agent died between list and entry: what it left goes before its list is in force again",
            with(Some(&[]), &[http]),
            excluded(OutboundPorts, "443"),
            vec![Step::Include(http), Step::Exclude(https), begin(Some(&[]), &[OutboundPorts])],
        ),
        (
            "enrolled again while being released",
            with(None, &[http]),
            excluded(OutboundPorts, "443"),
            vec![Step::Include(http), Step::Exclude(https), begin(None, &[OutboundPorts])],
        ),
        ("adopted", with(Some(&[OutboundPorts]), &[http]), excluded(OutboundPorts, "80"), vec![]),
    ] {
        let desired = desire(&actual, &[ip("192.0.2.7")], &terms(Closed, &[]), &desired);
        assert_eq!(plan(&actual, &desired), steps, "{case}");
    }
}
