use allocation::{Holder, Ranges};
use serde_json::json;

use super::*;

const HOUR: i64 = 3_600;

/// ServiceEntries of the namespace shop, the oldest first: `entry: hosts = status`, of istiod where that begins with `!`,
/// with no eligible host where there is none. Hosts are given addresses unless their spec has some.
fn entries(text: &str) -> Entries {
    let mut entries = Entries::default();
    let mut holders: BTreeMap<IpAddr, String> = BTreeMap::new();
    for (n, line) in text.split("; ").filter(|line| !line.is_empty()).enumerate() {
        let (name, rest) = line.split_once(": ").unwrap();
        let (hosts, status) = rest.split_once('=').unwrap();
        let status = status.trim();
        let pair = |text: &str| {
            let (host, ip) = text.split_once('@').unwrap();
            (Arc::from(host), ip.parse::<IpAddr>().unwrap())
        };
        let is_istiods = status.starts_with('!');
        let written: Vec<_> = status.trim_start_matches('!').split_whitespace().map(pair).collect();
        let values = written.iter().map(|(host, ip): &(Arc<str>, _)| json!({"value": ip, "host": **host}));
        let eligible: Vec<Arc<str>> = hosts.split_whitespace().map(Arc::from).collect();
        for host in &eligible {
            entries.hosts.insert(service(host));
            let own = entries.recorded.entry(service(host)).or_default();
            for (_, ip) in written.iter().filter(|(of, _)| of == host) {
                if holders.entry(*ip).or_insert_with(|| host.to_string()) == &**host && !own.contains(ip) {
                    own.push(*ip);
                }
            }
        }
        let entry = Entry {
            status: (!status.is_empty()).then(|| json!({"addresses": values.collect::<Vec<_>>()})),
            is_istiods,
            meaning: Some(Meaning { eligible, written }),
            version: n.to_string(),
            ..Entry::default()
        };
        entries.entries.insert(service(name), entry);
    }
    entries
}

fn service(host: &str) -> ObjectName {
    ObjectName::new("shop", host)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn allocator(range: &str) -> Allocator {
    let ranges = Ranges::new(range.parse().unwrap(), "2001:2::/48".parse().unwrap()).unwrap();
    Allocator::new(AllocationConfig { ranges, ..AllocationConfig::default() })
}

/// What the entry has after the plan: `host@address` of each; of IPv6 that there is one.
fn after(plan: &Plan, entries: &Entries, entry: &str) -> String {
    let patched = plan.patches.get(&service(entry)).map(|patch| {
        let value = &patch[1]["value"];
        value.get("addresses").unwrap_or(value).clone()
    });
    let status = entries.entries[&service(entry)].status.clone().unwrap_or_default();
    let addresses = patched.unwrap_or_else(|| status["addresses"].clone());
    let of = |address: &Value| {
        let (host, value) = (address["host"].as_str().unwrap(), address["value"].as_str().unwrap());
        if value.starts_with("2001:2:0:") { format!("{host}@v6") } else { format!("{host}@{value}") }
    };
    addresses.as_array().into_iter().flatten().map(of).collect::<Vec<_>>().join(" ")
}

/// In a range of two addresses, what is given is known whatever the hash says once one is taken.
const TWO: &str = "240.0.0.0/30";

#[test]
fn what_a_status_comes_to() {
    for (name, text, entry, expected) in [
        ("nothing there", "x: b = b@240.0.0.2; a: a =", "a", "a@240.0.0.1 a@v6"),
        ("all there", "a: a = a@240.0.0.1 a@2001:2:0:1::", "a", "a@240.0.0.1 a@v6"),
        ("all there, of another range", "a: a = a@10.0.0.1 a@fd00::1", "a", "a@10.0.0.1 a@fd00::1"),
        ("IPv4 there", "a: a = a@240.0.0.2", "a", "a@240.0.0.2 a@v6"),
        ("IPv6 there", "x: b = b@240.0.0.2; a: a = a@fd00::1", "a", "a@fd00::1 a@240.0.0.1"),
        ("a host more", "x: a b = a@240.0.0.2 a@fd00::1", "x", "a@240.0.0.2 a@fd00::1 b@240.0.0.1 b@v6"),
        ("a host less", "x: b = a@240.0.0.2 b@240.0.0.1 b@fd00::1", "x", "b@240.0.0.1 b@fd00::1"),
        ("not eligible any more", "x: = a@240.0.0.2", "x", ""),
        ("never eligible", "x: =", "x", ""),
        ("shared with another entry", "x: a = a@240.0.0.2 a@fd00::1; y: a =", "y", "a@240.0.0.2 a@fd00::1"),
        ("new, in two entries", "z: b = b@240.0.0.2; x: a =; y: a =", "y", "a@240.0.0.1 a@v6"),
        (
            "of an older host's",
            "x: a = a@240.0.0.2 a@fd00::1; y: b = b@240.0.0.2 b@fd00::2",
            "y",
            "b@fd00::2 b@240.0.0.1",
        ),
        (
            "the older host's",
            "x: a = a@240.0.0.2 a@fd00::1; y: b = b@240.0.0.2 b@fd00::2",
            "x",
            "a@240.0.0.2 a@fd00::1",
        ),
        ("of IPv6 alone where no other is left", "x: a b = a@240.0.0.1 b@240.0.0.2; y: c =", "y", "c@v6"),
        (
            "of IPv4 as soon as one is left",
            "x: a = a@240.0.0.1 a@2001:2:0:1::; y: c = c@2001:2:0:2::",
            "y",
            "c@v6 c@240.0.0.2",
        ),
        ("istiod's", "x: a = !a@240.0.0.2", "x", "a@240.0.0.2"),
        ("istiod's, also another's", "x: a = a@240.0.0.2 a@fd00::1; y: b = !b@240.0.0.2", "y", "b@240.0.0.2"),
        ("istiod's, not eligible any more", "x: = !a@240.0.0.2", "x", "a@240.0.0.2"),
        ("istiod's, a host more", "x: a b = !a@240.0.0.2", "x", "a@240.0.0.2 b@240.0.0.1 b@v6"),
    ] {
        let entries = entries(text);
        let mut allocator = allocator(TWO);
        let plan = allocator.plan(&entries, at(0));
        assert_eq!(after(&plan, &entries, entry), expected, "{name}");
        assert_eq!(allocator.plan(&entries, at(HOUR)), plan, "{name}: asked again it is the same");
    }
}

#[test]
fn what_is_so_already_is_not_written() {
    for (name, text) in [
        ("all there", "a: a = a@240.0.0.1 a@fd00::1"),
        ("in another order", "a: a b = b@fd00::2 a@fd00::1 b@240.0.0.2 a@240.0.0.1"),
        ("nothing to give", "a: ="),
        ("istiod's", "a: a = !a@240.0.0.1"),
    ] {
        assert_eq!(allocator(TWO).plan(&entries(text), at(0)).patches, BTreeMap::new(), "{name}");
    }
}

#[test]
fn a_patch_tests_what_it_replaces() {
    let addresses = json!([{"value": "240.0.0.1", "host": "a"}]);
    for (name, status, test, add) in [
        ("no status", None, json!(["/status", null]), json!(["/status", {"addresses": addresses}])),
        (
            "another status",
            Some(json!({"conditions": []})),
            json!(["/status/addresses", null]),
            json!(["/status/addresses", addresses]),
        ),
        (
            "empty",
            Some(json!({"addresses": []})),
            json!(["/status/addresses", []]),
            json!(["/status/addresses", addresses]),
        ),
    ] {
        let patch = patch(status.as_ref(), &addresses);
        assert_eq!(patch[0], json!({"op": "test", "path": test[0], "value": test[1]}), "{name}");
        assert_eq!(patch[1], json!({"op": "add", "path": add[0], "value": add[1]}), "{name}");
    }
}

#[test]
fn what_was_there_and_makes_no_sense_goes_with_the_next_patch() {
    let mut entries = entries("a: a = a@240.0.0.1 a@fd00::1");
    let entry = entries.entries.get_mut(&service("a")).unwrap();
    let written = entry.status.as_mut().unwrap()["addresses"].as_array_mut().unwrap();
    written.push(json!({"value": "bad", "host": "a"}));
    let plan = allocator(TWO).plan(&entries, at(0));
    assert_eq!(after(&plan, &entries, "a"), "a@240.0.0.1 a@fd00::1");
    assert_eq!(plan.patches[&service("a")][0]["value"].as_array().unwrap().len(), 3);
}

#[test]
fn an_address_in_a_spec_wins() {
    let mut entries = entries("x: a =; y: b = b@240.0.0.2 b@fd00::1");
    let mut narrow = allocator(TWO);
    narrow.plan(&entries, at(0));
    let holder = Holder::Entry("ServiceEntry shop/z".to_owned());
    entries.taken.addresses.insert("240.0.0.2".parse().unwrap(), holder);
    // As the index has it: what is another's is not recorded.
    entries.recorded.insert(service("b"), vec!["fd00::1".parse().unwrap()]);
    let plan = narrow.plan(&entries, at(1));
    assert_eq!(after(&plan, &entries, "y"), "b@fd00::1", "its address is gone, and there is no other");
    assert_eq!(
        plan.complaints[&service("y")],
        "240.0.0.0/30 has no address left for host shop/b: over IPv4 nobody reaches that by name; give hosts addresses of \
         their own, or the agents a wider range (dns.allocation.ipv4)"
    );
    // Where there is one left, it gets that, and who reads its status is told why.
    let mut wide = allocator("240.0.0.0/24");
    entries.recorded.insert(service("b"), vec!["240.0.0.2".parse().unwrap()]);
    let taken = std::mem::take(&mut entries.taken);
    wide.plan(&entries, at(0));
    entries.taken = taken;
    entries.recorded.insert(service("b"), Vec::new());
    let plan = wide.plan(&entries, at(1));
    let said = "host shop/b had 240.0.0.2, which ServiceEntry shop/z claims for itself; it was given another";
    assert_eq!((plan.complaints.len(), &*plan.complaints[&service("y")]), (1, said));
    assert_eq!(plan.problems, [said]);
}

#[test]
fn what_is_freed_is_nobodys_for_the_time_of_the_quarantine_whoever_leads() {
    let gone = entries("a: a = a@240.0.0.1 a@fd00::1; b: b = b@240.0.0.2 b@fd00::2");
    let mut first = allocator(TWO);
    first.plan(&gone, at(0));
    let new = entries("b: b = b@240.0.0.2 b@fd00::2; c: c =");
    assert_eq!(after(&first.plan(&new, at(10)), &new, "c"), "c@v6", "240.0.0.1 is in quarantine");
    let passed_on = first.freed(at(10));

    for (name, mut next) in
        [("one that looked on", allocator(TWO)), ("one that has just come", allocator(TWO))]
    {
        if name == "one that looked on" {
            next.observe(&gone, at(0));
            next.observe(&new, at(10));
            assert_eq!(next.freed(at(10)), passed_on, "{name}");
        } else {
            next.observe(&new, at(20));
            next.adopt_freed(&passed_on);
        }
        assert_eq!(after(&next.plan(&new, at(HOUR + 9)), &new, "c"), "c@v6", "{name}");
        assert_eq!(after(&next.plan(&new, at(HOUR + 10)), &new, "c"), "c@240.0.0.1 c@v6", "{name}");
        assert!(next.freed(at(HOUR + 10)).is_empty(), "{name}");
    }
    let back = entries("a: a =; b: b = b@240.0.0.2 b@fd00::2");
    assert_eq!(after(&first.plan(&back, at(20)), &back, "a"), "a@240.0.0.1 a@v6", "its own, at once");
}

#[test]
fn who_leads_no_more_forgets_what_it_has_not_written() {
    let (none, others) = (entries("a: a =; b: b ="), entries("a: a =; b: b = b@240.0.0.1 b@fd00::2"));
    let mut allocator = allocator(TWO);
    allocator.plan(&none, at(0));
    allocator.observe(&none, at(1));
    // The next leader has given one of them.
    allocator.observe(&others, at(2));
    assert_eq!(allocator.freed(at(2)), Record::default(), "nothing was ever anybody's");
    assert_eq!(after(&allocator.plan(&others, at(3)), &others, "a"), "a@240.0.0.2 a@v6");
}

#[test]
fn no_address_moves_whoever_comes_and_goes_and_no_two_hosts_share_one() {
    let mut allocator = Allocator::new(AllocationConfig::default());
    let (mut given, mut ever): (BTreeMap<String, String>, BTreeMap<String, String>) = Default::default();
    for round in 0..40_i64 {
        let is_there = |n: i64| (n * 7 + round * 13) % 5 != 0;
        let hosts = (0..300).filter(|n| is_there(*n)).map(|n| format!("h{n}"));
        let status = |host: &String| given.get(host).cloned().unwrap_or_default();
        let text: Vec<_> = hosts.map(|host| format!("{host}: {host} = {}", status(&host))).collect();
        let there = entries(&text.join("; "));
        // Now and then another one takes over.
        if round % 7 == 0 {
            let freed = allocator.freed(at(round));
            allocator = Allocator::new(AllocationConfig::default());
            allocator.observe(&there, at(round));
            allocator.adopt_freed(&freed);
        }
        let plan = allocator.plan(&there, at(round));
        assert_eq!((plan.problems, plan.complaints), Default::default());
        for (name, patch) in &plan.patches {
            let host = name.name.to_string();
            assert!(
                !text.iter().any(|line| line.starts_with(&format!("{host}:")) && line.contains('@')),
                "{host} moved"
            );
            let value = patch[1]["value"].get("addresses").unwrap_or(&patch[1]["value"]);
            let of = |address: &Value| format!("{host}@{}", address["value"].as_str().unwrap());
            let addresses = value.as_array().unwrap().iter().map(of).collect::<Vec<_>>().join(" ");
            given.insert(host.clone(), addresses.clone());
            if let Some(before) = ever.insert(host.clone(), addresses.clone()) {
                assert_eq!(before, addresses, "{host} was gone, and came back");
            }
        }
        // A status goes with its entry.
        given.retain(|host, _| text.iter().any(|line| line.starts_with(&format!("{host}:"))));
        let all: Vec<_> = given
            .values()
            .flat_map(|text| text.split_whitespace())
            .filter_map(|pair| pair.split('@').nth(1))
            .collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "round {round}");
    }
}
