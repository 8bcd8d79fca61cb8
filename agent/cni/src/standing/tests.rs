use std::{collections::BTreeMap, fs, path::PathBuf};

use model::WhenAgentDown::{Closed, Open};

use super::{Decision, FILE, Known, PodFacts, Standing, decide};
use crate::entry::{Entry, WhenUnknown};

fn standing() -> Standing {
    Standing { namespaces: BTreeMap::from([("shop".to_owned(), Closed), ("lab".to_owned(), Open)]) }
}

fn damaged() -> Known {
    Known::Damaged {
        file: PathBuf::from("/var/lib/millstream/standing.json"),
        problem: "is damaged: EOF".to_owned(),
    }
}

fn entry(when_unknown: WhenUnknown) -> Entry {
    Entry { when_unknown, except: vec!["kube-system".to_owned(), "listed".to_owned()], ..Entry::default() }
}

#[test]
fn the_namespace_decides_while_no_agent_answers() {
    use WhenUnknown::{Allow, Refuse};
    let known = || Known::Standing(standing());
    let sidecar = ("sidecar.istio.io/status", "{}");
    let plain = ("a", "b");
    for (name, known, when_unknown, pod, annotation, refused) in [
        ("not enrolled", known(), Allow, "other/web", plain, None),
        (
            "enrolled and closed",
            known(),
            Allow,
            "shop/web",
            plain,
            Some("pods of namespace shop must not start"),
        ),
        ("enrolled and open", known(), Allow, "lab/web", plain, None),
        ("a sidecar is never enrolled", known(), Allow, "shop/web", sidecar, None),
        ("a sidecar, strictly", known(), Refuse, "shop/web", sidecar, None),
        ("strict, not enrolled", known(), Refuse, "other/web", plain, Some("cni.whenUnknown is refuse")),
        ("strict, open", known(), Refuse, "lab/web", plain, Some("cni.whenUnknown is refuse")),
        ("strict, closed", known(), Refuse, "shop/web", plain, Some("when-agent-down: closed")),
        ("strict, listed", known(), Refuse, "listed/web", plain, None),
        ("strict, own namespace", known(), Refuse, "millstream-system/controller-1", plain, None),
        ("no file", Known::Missing, Allow, "shop/web", plain, None),
        ("no file, strict", Known::Missing, Refuse, "shop/web", plain, Some("cni.whenUnknown is refuse")),
        ("no file, strict, listed", Known::Missing, Refuse, "listed/web", plain, None),
        ("damaged", damaged(), Allow, "other/web", plain, Some("is damaged: EOF")),
        ("damaged, listed", damaged(), Refuse, "listed/web", plain, Some("is damaged: EOF")),
        ("damaged, the cluster's own", damaged(), Refuse, "kube-system/coredns-1", plain, None),
        ("damaged, own namespace", damaged(), Refuse, "millstream-system/controller-1", plain, None),
        ("damaged, the agent", damaged(), Refuse, "millstream-system/millstream-x7k2p", plain, None),
    ] {
        let (namespace, pod) = pod.split_once('/').unwrap();
        let annotations = BTreeMap::from([(annotation.0.to_owned(), annotation.1.to_owned())]);
        let facts = PodFacts { namespace, name: pod, annotations: &annotations };
        match (decide(&known, &entry(when_unknown), facts), refused) {
            (Decision::Pass, None) => {}
            (Decision::Refuse { why, remedy }, Some(part)) => {
                assert!(why.contains(part), "{name}: {why}");
                assert!(remedy.contains("kubectl get pods -n millstream-system -o wide"), "{name}: {remedy}");
            }
            (decision, _) => panic!("{name}: {decision:?}"),
        }
    }
}

#[test]
fn the_agents_own_pods_are_told_by_namespace_and_name() {
    let annotations = BTreeMap::new();
    for (namespace, name, expected) in [
        ("millstream-system", "millstream-x7k2p", true),
        ("other", "millstream-x7k2p", false),
        ("millstream-system", "millstream-controller-x7k2p", false),
        ("millstream-system", "millstream-x7k2", false),
        ("millstream-system", "millstreamx7k2p", false),
        ("millstream-system", "millstream-x7-2p", false),
        ("millstream-system", "millstream", false),
    ] {
        let pod = PodFacts { namespace, name, annotations: &annotations };
        assert_eq!(pod.is_agent(&Entry::default()), expected, "{namespace}/{name}");
    }
}

#[test]
fn what_is_written_is_read_and_anything_else_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("not/there/yet");
    assert_eq!(Standing::read(&state), Known::Missing);
    for standing in [standing(), Standing::default()] {
        standing.write(&state).unwrap();
        assert_eq!(Standing::read(&state), Known::Standing(standing));
    }
    assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "nothing is left beside it");
    for (name, text) in [
        ("empty", &b""[..]),
        ("cut off", b"{\"namespaces\":{\"shop\":\"clo"),
        ("no namespaces", b"{}"),
        ("an unknown word", b"{\"namespaces\":{\"shop\":\"ajar\"}}"),
        ("not UTF-8", b"\xff\xfe"),
    ] {
        fs::write(state.join(FILE), text).unwrap();
        let read = Standing::read(&state);
        assert!(matches!(read, Known::Damaged { .. }), "{name}: {read:?}");
    }
}
