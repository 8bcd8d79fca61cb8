use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use jiff::Timestamp;
use model::ObjectName;

use super::{Reconciled, Record};
use crate::{AllocationConfig, Demand, Holder, Ranges, Taken};

const HOUR: i64 = 3_600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn name(host: &str) -> ObjectName {
    ObjectName::new("shop", host)
}

fn demand(hosts: &[&str]) -> Demand {
    Demand {
        hosts: hosts.iter().map(|host| name(host)).collect(),
        taken: Taken::default(),
        is_complete: true,
    }
}

/// With a range of so many bits.
fn config(range: &str) -> AllocationConfig {
    let ranges = Ranges::new(range.parse().unwrap(), "2001:2::/48".parse().unwrap()).unwrap();
    AllocationConfig { ranges, ..AllocationConfig::default() }
}

fn v4(reconciled: &Reconciled, host: &str) -> Option<Ipv4Addr> {
    reconciled.addresses.get(&name(host))?.iter().find_map(|ip| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    })
}

fn problems(reconciled: &Reconciled) -> Vec<String> {
    reconciled.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_host_has_an_address_of_each_family() {
    let config = AllocationConfig::default();
    let reconciled =
        Record::default().reconcile(&demand(&["a.example.com", "*.example.org"]), &config, at(0));
    for host in ["a.example.com", "*.example.org"] {
        let [ipv4, ipv6] = reconciled.addresses[&name(host)][..] else { panic!("{host}") };
        assert!(config.ranges.ipv4().contains(ipv4) && config.ranges.ipv6().contains(ipv6), "{host}");
    }
    assert_eq!(problems(&reconciled), [""; 0]);
}

#[test]
fn asked_again_nothing_changes() {
    let config = config("240.0.0.0/29");
    let demand = demand(&["a", "b", "c", "d", "e", "f", "g"]);
    let first = Record::default().reconcile(&demand, &config, at(0));
    assert_eq!(first.record.reconcile(&demand, &config, at(HOUR)), first, "one has none, and that stays so");
    let written = serde_json::to_string(&first.record).unwrap();
    let fresh: Record = serde_json::from_str(&written).unwrap();
    assert_eq!(fresh.reconcile(&demand, &config, at(HOUR)), first, "a node that starts afresh agrees");
}

#[test]
fn who_comes_back_has_what_it_had() {
    let config = config("240.0.0.0/29");
    let all = ["a", "b", "c", "d", "e", "f"];
    let full = Record::default().reconcile(&demand(&all), &config, at(0));
    let had = v4(&full, "b").unwrap();
    let without = full.record.reconcile(&demand(&["a", "c", "d", "e", "f"]), &config, at(10));
    assert_eq!(v4(&without, "b"), None);
    for (name, hosts, later, expected) in [
        ("within the quarantine", &all[..], 10 + HOUR / 2, [("b", Some(had)), ("new", None)]),
        ("long after it", &all, 10 + 9 * HOUR, [("b", Some(had)), ("new", None)]),
        (
            "another, within the quarantine",
            &["a", "c", "d", "e", "f", "new"],
            9 + HOUR,
            [("b", None), ("new", None)],
        ),
        (
            "another, after it",
            &["a", "c", "d", "e", "f", "new"],
            10 + HOUR,
            [("b", None), ("new", Some(had))],
        ),
    ] {
        let reconciled = without.record.reconcile(&demand(hosts), &config, at(later));
        for (host, address) in expected {
            assert_eq!(v4(&reconciled, host), address, "{name}: {host}");
        }
    }
}

#[test]
fn what_could_not_be_read_is_not_taken_for_gone() {
    let config = config("240.0.0.0/30");
    let two = Record::default().reconcile(&demand(&["a", "b"]), &config, at(0));
    let unsure = Demand { is_complete: false, ..demand(&["a"]) };
    let reconciled = two.record.reconcile(&unsure, &config, at(10));
    assert_eq!(reconciled.record, two.record);
    let later = reconciled.record.reconcile(&demand(&["a", "c"]), &config, at(9 * HOUR));
    assert_eq!(v4(&later, "c"), None, "only now its quarantine begins");
}

#[test]
fn addresses_that_somebody_wrote_win() {
    let config = config("240.0.0.0/29");
    let before = Record::default().reconcile(&demand(&["a", "b"]), &config, at(0));
    let (a, b) = (v4(&before, "a").unwrap(), v4(&before, "b").unwrap());
    let entry = || "ServiceEntry shop/x".to_owned();
    let rest = "claims for itself; it was given another";
    for (name, taken, moved) in [
        (
            "an address",
            Taken { addresses: [(a.into(), Holder::Entry(entry()))].into(), ..Taken::default() },
            true,
        ),
        (
            "a network",
            Taken { networks: vec![(format!("{a}/32").parse().unwrap(), entry())], ..Taken::default() },
            true,
        ),
        (
            "a network that is wider than the range",
            Taken { networks: vec![("240.0.0.0/8".parse().unwrap(), entry())], ..Taken::default() },
            false,
        ),
    ] {
        let demand = Demand { taken, ..demand(&["a", "b"]) };
        let after = before.record.reconcile(&demand, &config, at(1));
        assert_eq!(v4(&after, "b"), Some(b), "{name}");
        assert_eq!(v4(&after, "a") != Some(a), moved, "{name}");
        let expected = format!("host shop/a had {a}, which ServiceEntry shop/x {rest}");
        let expected: Vec<_> = Some(expected).into_iter().filter(|_| moved).collect();
        assert_eq!(problems(&after), expected, "{name}");
        let again = after.record.reconcile(&demand, &config, at(2));
        assert_eq!(again, after, "{name}: it is told as long as it is so");
    }
    let ipv6 = config.ranges.ipv6_of(&name("a"));
    let taken = Taken { addresses: [(ipv6, Holder::Entry(entry()))].into(), ..Taken::default() };
    let after = before.record.reconcile(&Demand { taken, ..demand(&["a"]) }, &config, at(1));
    assert_eq!(after.addresses[&name("a")], [IpAddr::from(a)]);
    let expected = format!("host shop/a would have {ipv6}, which ServiceEntry shop/x claims for itself");
    assert_eq!(problems(&after), [format!("{expected}; it has no IPv6 address")]);
}

#[test]
fn a_range_that_is_exhausted_or_in_use_is_told() {
    let config = config("240.0.0.0/30");
    let cluster = |ip: &str, name: &str| (ip.parse().unwrap(), Holder::Cluster(name.to_owned()));
    let exhausted = "240.0.0.0/30 has no address left for host shop/";
    let advice = "over IPv4 nobody reaches that by name; give hosts addresses of their own, or the agents a wider range \
                  (dns.allocation.ipv4)";
    let in_use =
        "240.0.0.0/30, of which hosts are given addresses, is in use in the cluster: 240.0.0.1 is that of";
    let choose = "choose another range (dns.allocation)";
    for (hosts, taken, expected) in [
        (&["a", "b"][..], vec![], vec![]),
        (&["a", "b", "c"], vec![], vec![format!("{exhausted}c: {advice}")]),
        (&["a", "b", "c", "d"], vec![], vec![format!("{exhausted}c, and one more: {advice}")]),
        (
            &["a", "b"],
            vec![cluster("240.0.0.1", "Service shop/web"), cluster("10.0.0.1", "Pod shop/web-1")],
            vec![format!("{exhausted}b: {advice}"), format!("{in_use} Service shop/web; {choose}")],
        ),
        (
            &["a"],
            vec![cluster("240.0.0.1", "Pod shop/x"), cluster("240.0.0.3", "Pod shop/y")],
            vec![format!("{in_use} Pod shop/x, and one more; {choose}")],
        ),
    ] {
        let taken = Taken { addresses: taken.into_iter().collect(), ..Taken::default() };
        let reconciled = Record::default().reconcile(&Demand { taken, ..demand(hosts) }, &config, at(0));
        assert_eq!(problems(&reconciled), expected, "{hosts:?}");
        for host in hosts {
            let of_ipv6 = reconciled.addresses[&name(host)].iter().filter(|ip| ip.is_ipv6()).count();
            assert_eq!(of_ipv6, 1, "{hosts:?}: {host} has its IPv6 address whatever becomes of the other");
        }
    }
}

#[test]
fn a_range_of_which_services_are_given_addresses_is_told() {
    let config = config("240.0.0.0/16");
    for (name, services, expected) in [
        ("elsewhere", &[("10.96.0.0/12", "kubernetes"), ("fd00::/108", "kubernetes")][..], &[][..]),
        ("a part of it", &[("240.0.5.0/24", "more")], &["240.0.0.0/16 240.0.5.0/24 ServiceCIDR more"]),
        (
            "more than it",
            &[("240.0.0.0/8", "kubernetes")],
            &["240.0.0.0/16 240.0.0.0/8 ServiceCIDR kubernetes"],
        ),
        (
            "twice, and of the other family",
            &[("10.0.0.0/8", "old"), ("240.0.0.0/16", "a"), ("240.0.1.0/24", "b"), ("2001:2::/112", "c")],
            &[
                "240.0.0.0/16 240.0.0.0/16 ServiceCIDR a, and one more",
                "2001:2::/48 2001:2::/112 ServiceCIDR c",
            ],
        ),
    ] {
        let object =
            |(network, name): &(&str, &str)| (network.parse().unwrap(), format!("ServiceCIDR {name}"));
        let taken = Taken { services: services.iter().map(object).collect(), ..Taken::default() };
        let reconciled = Record::default().reconcile(&Demand { taken, ..demand(&["a"]) }, &config, at(0));
        assert_eq!(
            reconciled.addresses[&self::name("a")].len(),
            2,
            "{name}: until a Service has it, it is to be had"
        );
        let expected: Vec<_> = expected
            .iter()
            .map(|text| {
                let [range, network, holder] = text.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
                format!(
                    "{range}, of which hosts are given addresses, overlaps {network} of {holder}, of which Services are \
                     given theirs: a Service that gets one of a host's takes it away; choose another range \
                     (dns.allocation)"
                )
            })
            .collect();
        assert_eq!(problems(&reconciled), expected, "{name}");
    }
}

#[test]
fn what_is_not_written_down_is_not_in_force() {
    let config = AllocationConfig::default();
    let known = Record::default().reconcile(&demand(&["a"]), &config, at(0)).record;
    let two = known.reconcile(&demand(&["a", "b"]), &config, at(0));
    let only = two.clone().only(&known);
    assert_eq!((v4(&only, "a"), v4(&only, "b")), (v4(&two, "a"), None));
    assert_eq!(only.record, known);
    assert_eq!(only.addresses.get(&name("b")), None, "nor one of IPv6, for it is to have both");
}

#[test]
fn records_that_make_no_sense() {
    for (text, expected) in [
        (r#"{"version": 1, "hosts": {"a/b": {"ipv4": "240.240.0.1"}}}"#, None),
        (r#"{"version": 2, "hosts": {}}"#, Some("of version 2")),
        (r#"{"version": 1, "hosts": {"b": {"ipv4": "240.240.0.1"}}}"#, Some("is not a namespace and a host")),
        (
            r#"{"version": 1, "hosts": {"a/b/c": {"ipv4": "240.240.0.1"}}}"#,
            Some("is not a namespace and a host"),
        ),
        (
            r#"{"version": 1, "hosts": {"a/b": {"ipv4": "240.240.0.1"}, "a/c": {"ipv4": "240.240.0.1"}}}"#,
            Some("two hosts have 240.240.0.1"),
        ),
        (r#"{"version": 1, "hosts": {"a/b": {"ipv4": "no"}}}"#, Some("invalid IPv4 address")),
        ("", Some("EOF")),
    ] {
        let error = serde_json::from_str::<Record>(text).err().map(|error| error.to_string());
        assert_eq!(error.is_some(), expected.is_some(), "{text}: {error:?}");
        assert!(error.unwrap_or_default().contains(expected.unwrap_or_default()), "{text}");
    }
}

/// Whatever comes and goes, in whichever order: no host's address ever moves, no two hosts share one, and a node that
/// starts afresh agrees.
#[test]
fn no_host_moves_because_another_came_or_went() {
    const HOSTS: usize = 20_000;
    let mut random = fastrand::Rng::with_seed(8);
    let config = AllocationConfig { quarantine: Duration::from_secs(60), ..AllocationConfig::default() };
    let name = |n: usize| ObjectName::new("ns", &format!("h{n}.example.com"));
    let mut present: BTreeSet<ObjectName> = (0..HOSTS).map(name).collect();
    let mut record = Record::default();
    let mut known: BTreeMap<ObjectName, Vec<IpAddr>> = BTreeMap::new();
    let mut named = HOSTS;
    for round in 0..8 {
        let is_complete = round % 3 != 2;
        let demand = Demand { hosts: present.clone(), taken: Taken::default(), is_complete };
        let reconciled = record.reconcile(&demand, &config, at(round * 60));
        assert_eq!(reconciled.problems, []);
        assert_eq!(reconciled.addresses.len(), present.len());
        let distinct: BTreeSet<_> = reconciled.addresses.values().flatten().collect();
        assert_eq!(distinct.len(), 2 * present.len(), "round {round}");
        for (host, addresses) in &reconciled.addresses {
            let before = known.entry(host.clone()).or_insert_with(|| addresses.clone());
            assert_eq!(before, addresses, "{host} moved in round {round}");
        }
        record = reconciled.record;

        // Many go, some of those that were there before come back, some are new.
        present.retain(|_| random.u8(0..4) != 0);
        for host in known.keys() {
            if random.u8(0..8) == 0 {
                present.insert(host.clone());
            }
        }
        let new = named..named + random.usize(1_000..3_000);
        named = new.end;
        present.extend(new.map(name));
    }
    let demand = Demand { hosts: present, taken: Taken::default(), is_complete: true };
    let here = record.reconcile(&demand, &config, at(9_000));
    let written = serde_json::to_string(&here.record).unwrap();
    let read: Record = serde_json::from_str(&written).unwrap();
    assert_eq!(read.reconcile(&demand, &config, at(9_999)), here, "a node that starts afresh agrees");
}

fn hosts(record: &Record) -> String {
    let hosts = record.hosts().map(|(host, recorded)| {
        let freed = recorded.freed.map(|freed| format!(" freed {}", freed.as_second())).unwrap_or_default();
        format!("{} {}{freed}", host.name, recorded.ipv4)
    });
    hosts.collect::<Vec<_>>().join(", ")
}

/// `host address` of each, and after `freed` since when it is gone.
fn record(text: &str) -> Record {
    let host = |text: &str| {
        let words: Vec<_> = text.split_whitespace().collect();
        let mut recorded = serde_json::json!({"ipv4": words[1]});
        if let Some(freed) = words.get(3) {
            recorded["freed"] = at(freed.parse().unwrap()).to_string().into();
        }
        (format!("shop/{}", words[0]), recorded)
    };
    let hosts: serde_json::Map<_, _> = text.split(", ").filter(|text| !text.is_empty()).map(host).collect();
    serde_json::from_value(serde_json::json!({"version": 1, "hosts": hosts})).unwrap()
}

#[test]
fn what_is_written_down_elsewhere_decides() {
    for (name_, known, written, expected) in [
        ("nothing known", "", &["a 240.0.0.1"][..], "a 240.0.0.1"),
        ("the same", "a 240.0.0.1", &["a 240.0.0.1"], "a 240.0.0.1"),
        ("another", "a 240.0.0.1", &["a 240.0.0.2"], "a 240.0.0.2"),
        ("of another host", "a 240.0.0.1, c 240.0.0.3", &["b 240.0.0.1"], "b 240.0.0.1, c 240.0.0.3"),
        ("of a host that is gone", "a 240.0.0.1 freed 5", &["b 240.0.0.1"], "b 240.0.0.1"),
        ("of two hosts", "", &["b 240.0.0.1", "a 240.0.0.1"], "b 240.0.0.1"),
        (
            "exchanged",
            "a 240.0.0.1, b 240.0.0.2",
            &["a 240.0.0.2", "b 240.0.0.1"],
            "a 240.0.0.2, b 240.0.0.1",
        ),
    ] {
        let mut known = record(known);
        known.adopt(written.iter().map(|text| {
            let (host, ipv4) = text.split_once(' ').unwrap();
            (name(host), ipv4.parse().unwrap())
        }));
        assert_eq!(hosts(&known), expected, "{name_}");
    }
}

#[test]
fn what_another_knows_of_hosts_that_are_gone_is_taken_along() {
    for (name, known, other, expected) in [
        ("gone", "", "a 240.0.0.1 freed 5", "a 240.0.0.1 freed 5"),
        ("there", "", "a 240.0.0.1", ""),
        ("back by now", "a 240.0.0.2", "a 240.0.0.1 freed 5", "a 240.0.0.2"),
        ("somebody else's by now", "b 240.0.0.1", "a 240.0.0.1 freed 5", "b 240.0.0.1"),
    ] {
        let mut known = record(known);
        known.adopt_freed(&record(other));
        assert_eq!(hosts(&known), expected, "{name}");
    }
}

#[test]
fn of_what_is_gone_the_quarantine_is_passed_on() {
    let hour = Duration::from_secs(3_600);
    let known = record(
        "a 240.0.0.1, b 240.0.0.2 freed 0, c 240.0.0.3 freed 10, d 240.0.0.4 freed 20, e 240.0.0.5 freed 20",
    );
    for (name, now, most, expected) in [
        (
            "none is over",
            20,
            9,
            "b 240.0.0.2 freed 0, c 240.0.0.3 freed 10, d 240.0.0.4 freed 20, e 240.0.0.5 freed 20",
        ),
        ("one is over", HOUR, 9, "c 240.0.0.3 freed 10, d 240.0.0.4 freed 20, e 240.0.0.5 freed 20"),
        ("too many", 20, 1, "d 240.0.0.4 freed 20"),
        ("all are over", HOUR + 20, 9, ""),
    ] {
        assert_eq!(hosts(&known.in_quarantine(hour, at(now), most)), expected, "{name}");
    }
    let mut kept = known.clone();
    kept.retain(|_| false);
    assert_eq!(
        hosts(&kept),
        hosts(&known).strip_prefix("a 240.0.0.1, ").unwrap(),
        "only those that are gone"
    );
}
