use std::{collections::HashSet, net::IpAddr};

use model::ObjectName;

use super::{SLOTS, addresses, allocate};

fn hosts(names: &[&str]) -> Vec<ObjectName> {
    let host = |name: &&str| {
        let (namespace, host) = name.split_once('/').unwrap_or(("", name));
        ObjectName::new(namespace, host)
    };
    names.iter().map(host).collect()
}

/// `host address` of each.
fn allocated(names: &[&str]) -> Vec<String> {
    let hosts = hosts(names);
    let allocated = allocate(&hosts);
    hosts.iter().map(|host| format!("{} {}", host.name, allocated[host][0])).collect()
}

#[test]
fn what_istiod_gives() {
    for (name, hosts, expected) in [
        (
            "its own table",
            &["a.com", "c.com", "e.com", "g.com", "i.com", "k.com", "l.com", "n.com", "o.com"][..],
            &[
                "a.com 240.240.109.8",
                "c.com 240.240.234.51",
                "e.com 240.240.85.60",
                "g.com 240.240.23.172",
                "i.com 240.240.15.2",
                "k.com 240.240.160.161",
                "l.com 240.240.42.96",
                "n.com 240.240.121.61",
                "o.com 240.240.122.71",
            ][..],
        ),
        (
            "two with one hash",
            &["a17061.example.com", "a44155.example.com"],
            &["a17061.example.com 240.240.25.11", "a44155.example.com 240.240.31.17"],
        ),
        ("with a namespace", &["a/a.example.com"], &["a.example.com 240.240.134.206"]),
        (
            "twice the same",
            &["a/a.example.com", "a/a.example.com"],
            // That of its second slot, for it comes before the first.
            &["a.example.com 240.240.76.186", "a.example.com 240.240.76.186"],
        ),
        ("before another comes", &["ns/q1.com"], &["q1.com 240.240.167.34"]),
        (
            "that one moves it",
            &["ns/h111.com", "ns/q1.com"],
            &["h111.com 240.240.162.1", "q1.com 240.240.167.35"],
        ),
    ] {
        assert_eq!(allocated(hosts), expected, "{name}");
    }
}

#[test]
fn ipv6_without_leading_zeros() {
    for (third, fourth, expected) in [
        (0, 1, "2001:2::f0f0:1"),
        (0, 0x11, "2001:2::f0f0:11"),
        (1, 0x11, "2001:2::f0f0:111"),
        // The same as that of 240.240.1.17, as it always was.
        (0x11, 1, "2001:2::f0f0:111"),
        (0xfe, 0xfe, "2001:2::f0f0:fefe"),
    ] {
        assert_eq!(addresses(third, fourth)[1], expected.parse::<IpAddr>().unwrap(), "{third} {fourth}");
    }
}

#[test]
fn as_many_as_there_are_slots() {
    let names: Vec<_> = (0..SLOTS + 1).map(|n| ObjectName::new("", &format!("foo{n}.com"))).collect();
    let allocated = allocate(&names);
    let ipv4: HashSet<_> = allocated.values().map(|[ipv4, _]| *ipv4).collect();
    assert_eq!((allocated.len(), ipv4.len()), (SLOTS as usize, SLOTS as usize));
}
