use std::{collections::BTreeSet, net::IpAddr};

use model::WhenAgentDown::{Closed, Open};

use super::{Change, Step, plan};
use crate::desired::{Actual, Desired, Family, desire};

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
        entry: Some(Closed),
        ..fresh()
    }
}

fn desired() -> Desired {
    desire(&fresh(), &[ip("192.0.2.7")], Closed)
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
            Step::Begin(Closed),
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
            Actual { entry: Some(Open), ..captured() },
            vec![Step::Begin(Closed)],
        ),
        (
            "enrolled again while being released",
            Actual { entry: None, ..captured() },
            vec![Step::Begin(Closed)],
        ),
    ] {
        assert_eq!(plan(&actual, &desired()), steps, "{case}");
    }
}
