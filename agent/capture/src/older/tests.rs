use model::{Exclusions, Origin};

use super::*;

const C: u32 = 0x1000_0000;
const A: u32 = 0x2000_0000;
const AGENT: u64 = 77;

fn pod() -> Facts {
    let own = ["192.0.2.1", "2001:db8::1", "192.0.2.9"].map(|ip| ip.parse().unwrap());
    let (exclusions, probes) = (BTreeSet::new(), HashSet::new());
    Facts { captured: C, agents: [AGENT].into(), own: own.into(), exclusions, probes }
}

fn connection(local: &str, remote: &str) -> Connection {
    Connection::between(local.parse().unwrap(), remote.parse().unwrap())
}

#[test]
fn what_nothing_of_ours_is_on_is_older() {
    for (local, remote) in [
        ("192.0.2.1:40000", "198.51.100.1:80"),
        ("192.0.2.1:80", "198.51.100.1:40000"),
        ("[2001:db8::1]:40000", "[2001:db8::2]:80"),
        ("192.0.2.77:40000", "198.51.100.1:80"),
    ] {
        assert!(pod().is_older(&connection(local, remote)), "{local} {remote}");
    }
}

#[test]
fn what_the_programs_leave_alone_at_any_age_is_not() {
    for (local, remote) in [
        ("127.0.0.1:40000", "127.0.0.1:80"),
        ("127.0.0.1:80", "127.9.9.9:40000"),
        ("[::1]:40000", "[::1]:80"),
        ("192.0.2.1:40000", "192.0.2.1:80"),
        ("192.0.2.1:40000", "192.0.2.9:80"),
        ("[2001:db8::1]:40000", "[2001:db8::1]:80"),
        ("[fe80::1]:40000", "[fe80::2]:80"),
    ] {
        assert!(!pod().is_older(&connection(local, remote)), "{local} {remote}");
    }
}

#[test]
fn marks_and_cgroups_tell_ours() {
    let is_older = |mark, cgroup| {
        let connection = Connection { mark, cgroup, ..connection("192.0.2.1:40000", "198.51.100.1:80") };
        pod().is_older(&connection)
    };
    assert!(!is_older(C, 1), "captured");
    assert!(!is_older(C | 0xff, 1), "captured, with a mark of the application's own");
    assert!(is_older(0xff, 1), "a mark of the application's own");
    assert!(!is_older(A, AGENT), "forwarded");
    assert!(!is_older(C, AGENT), "delivered");
    assert!(!is_older(0, AGENT), "accepted by the proxy");
}

#[test]
fn what_nobody_has_any_more_ends_by_itself() {
    let connection = connection("192.0.2.1:40000", "198.51.100.1:80");
    assert!(!pod().is_older(&Connection { orphaned: true, ..connection }));
}

#[test]
fn what_is_excluded_is_not() {
    use ExclusionList::{InboundCidrs, InboundPorts, OutboundCidrs, OutboundPorts};
    for (list, what, local, remote, is_older) in [
        (OutboundCidrs, "198.51.100.0/24", "192.0.2.1:40000", "198.51.100.1:80", false),
        (OutboundCidrs, "2001:db8::/64", "[2001:db8::1]:40000", "[2001:db8::2]:80", false),
        (OutboundCidrs, "203.0.113.0/24", "192.0.2.1:40000", "198.51.100.1:80", true),
        (OutboundPorts, "80", "192.0.2.1:40000", "198.51.100.1:80", false),
        (OutboundPorts, "80", "192.0.2.1:80", "198.51.100.1:40000", true),
        (InboundCidrs, "198.51.100.0/24", "192.0.2.1:80", "198.51.100.1:40000", false),
        (InboundPorts, "80", "192.0.2.1:80", "198.51.100.1:40000", false),
        (InboundPorts, "80", "192.0.2.1:40000", "198.51.100.1:80", true),
    ] {
        let exclusions = Exclusions::parse(list, what, Origin::Pod).unwrap();
        let pod = Facts { exclusions: crate::exclusions::entries(&exclusions), ..pod() };
        assert_eq!(pod.is_older(&connection(local, remote)), is_older, "{list:?} {what}: {local} {remote}");
    }
}

#[test]
fn a_probe_is_not_but_what_goes_the_other_way_is() {
    let [kubelet, port] = ["198.51.100.1:40000", "192.0.2.1:80"].map(|end| end.parse().unwrap());
    let pod = Facts { probes: [(kubelet, port)].into(), ..pod() };
    assert!(!pod.is_older(&connection("192.0.2.1:80", "198.51.100.1:40000")));
    assert!(pod.is_older(&connection("192.0.2.1:40000", "198.51.100.1:80")));
    assert!(pod.is_older(&connection("192.0.2.1:80", "198.51.100.1:40001")));
}
