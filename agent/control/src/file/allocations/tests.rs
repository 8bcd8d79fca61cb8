use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::Path, thread};

use allocation::{AllocationConfig, Demand, Record};
use jiff::Timestamp;
use model::ObjectName;
use tempfile::TempDir;

use super::{LOCK, RECORD, Shared, lock, reconcile, write};

fn demand(hosts: &[&str]) -> Demand {
    let hosts = hosts.iter().map(|host| ObjectName::new("shop", host)).collect();
    Demand { hosts, is_complete: true, ..Demand::default() }
}

fn reconciled(dir: &Path, hosts: &[&str], known: &Record) -> Shared {
    reconcile(dir, &demand(hosts), &AllocationConfig::default(), known, Timestamp::UNIX_EPOCH)
}

fn hosts(shared: &Shared) -> String {
    let hosts: Vec<_> = shared.reconciled.addresses.keys().map(|host| &*host.name).collect();
    hosts.join(" ")
}

fn reasons(shared: &Shared) -> Vec<String> {
    shared.refusals.iter().map(ToString::to_string).collect()
}

#[test]
fn the_agents_of_a_folder_agree() {
    let dir = TempDir::new().unwrap();
    // Each knows some of the hosts before the others do.
    let nodes: Vec<_> = (0..8)
        .map(|node| {
            let dir = dir.path().to_owned();
            thread::spawn(move || {
                let hosts: BTreeSet<_> =
                    (0..40).map(|n| ObjectName::new("shop", &format!("h{}", n * (node + 1)))).collect();
                let demand = Demand { hosts, ..Demand::default() };
                let config = AllocationConfig::default();
                reconcile(&dir, &demand, &config, &Record::default(), Timestamp::UNIX_EPOCH)
            })
        })
        .collect();
    let nodes: Vec<Shared> = nodes.into_iter().map(|node| node.join().unwrap()).collect();
    let text = fs::read_to_string(dir.path().join(RECORD)).unwrap();
    let record: Record = serde_json::from_str(&text).unwrap();
    let all: BTreeSet<_> = nodes.iter().flat_map(|node| node.reconciled.addresses.keys()).cloned().collect();
    let demand = Demand { hosts: all, ..Demand::default() };
    let config = AllocationConfig::default();
    let fresh = reconcile(dir.path(), &demand, &config, &Record::default(), Timestamp::UNIX_EPOCH);
    assert_eq!(fresh.reconciled.record, record, "everything was written down already");
    for node in nodes {
        assert_eq!(reasons(&node), [""; 0]);
        assert_eq!(node.reconciled.addresses.len(), 40);
        for (host, addresses) in node.reconciled.addresses {
            assert_eq!(fresh.reconciled.addresses[&host], addresses, "{host}");
        }
    }
}

#[test]
fn nothing_is_written_where_nobody_asks() {
    let dir = TempDir::new().unwrap();
    assert_eq!(reconciled(dir.path(), &[], &Record::default()), Shared::default());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn who_does_not_change_the_record_does_not_touch_the_folder() {
    let dir = TempDir::new().unwrap();
    let first = reconciled(dir.path(), &["a"], &Record::default());
    let held = lock(dir.path()).unwrap();
    assert_eq!(reconciled(dir.path(), &["a"], &Record::default()), first, "not even the lock is asked for");
    drop(held);
}

#[test]
fn a_record_that_is_lost_is_written_anew() {
    let dir = TempDir::new().unwrap();
    let first = reconciled(dir.path(), &["a", "b"], &Record::default());
    fs::remove_file(dir.path().join(RECORD)).unwrap();
    let again = reconciled(dir.path(), &["a", "b", "c"], &first.reconciled.record);
    let a = ObjectName::new("shop", "a");
    assert_eq!(again.reconciled.addresses[&a], first.reconciled.addresses[&a]);
    let fresh = reconciled(dir.path(), &["a", "b", "c"], &Record::default());
    assert_eq!(fresh.reconciled, again.reconciled);
}

#[test]
fn what_cannot_be_read_or_written_leaves_everything_as_it_is() {
    let rest = "hosts keep the addresses that are known, and new ones get none until it is mended";
    let spoil = |text: &'static str| move |dir: &Path| fs::write(dir.join(RECORD), text).unwrap();
    let newer = spoil(r#"{"version": 9, "hosts": {}}"#);
    let corrupt = spoil("{");
    let lockless = |dir: &Path| {
        fs::remove_file(dir.join(LOCK)).unwrap();
        symlink("nowhere/at/all", dir.join(LOCK)).unwrap();
    };
    let unwritable = |dir: &Path| fs::create_dir(dir.join(super::NEXT)).unwrap();
    for (name, spoil, expected) in [
        (
            "corrupt",
            &corrupt as &dyn Fn(&Path),
            "makes no sense: EOF while parsing an object at line 1 column 1",
        ),
        (
            "of a newer agent",
            &newer,
            "makes no sense: it is of version 9, of which this agent knows nothing: it was written by a newer one",
        ),
        ("no lock", &lockless, "cannot be locked by .millstream-allocations.lock: No such file or directory"),
        ("no place", &unwritable, "cannot be written: Is a directory"),
    ] {
        let dir = TempDir::new().unwrap();
        let first = reconciled(dir.path(), &["a"], &Record::default());
        spoil(dir.path());
        let before = fs::read(dir.path().join(RECORD)).unwrap();
        let after = reconciled(dir.path(), &["a", "b"], &first.reconciled.record);
        assert_eq!(hosts(&after), "a", "{name}");
        assert_eq!(after.reconciled.addresses, first.reconciled.addresses, "{name}");
        let [reason] = &reasons(&after)[..] else { panic!("{name}: {after:?}") };
        let begin = format!("{RECORD}: {expected}");
        assert!(reason.starts_with(&begin) && reason.ends_with(rest), "{name}: {reason}");
        assert_eq!(fs::read(dir.path().join(RECORD)).unwrap(), before, "{name}: it is left as it is");
    }
}

#[test]
fn problems_are_told_beside_the_record() {
    let dir = TempDir::new().unwrap();
    let ranges = allocation::Ranges::new("240.0.0.0/30".parse().unwrap(), "2001:2::/48".parse().unwrap());
    let config = AllocationConfig { ranges: ranges.unwrap(), ..AllocationConfig::default() };
    let demand = demand(&["a", "b", "c"]);
    let shared = reconcile(dir.path(), &demand, &config, &Record::default(), Timestamp::UNIX_EPOCH);
    let addresses = |shared: &Shared| {
        let of = |host| &shared.reconciled.addresses[&ObjectName::new("shop", host)];
        ["a", "b", "c"]
            .map(|host| of(host).iter().map(|ip| if ip.is_ipv4() { '4' } else { '6' }).collect::<String>())
    };
    assert_eq!(addresses(&shared), ["46", "46", "6"]);
    let reason = "240.0.0.0/30 has no address left for host shop/c:";
    assert!(reasons(&shared)[0].starts_with(&format!("{RECORD}: {reason}")), "{:?}", reasons(&shared));
    // While the record cannot be read, they stay.
    fs::write(dir.path().join(RECORD), "{").unwrap();
    let known = &shared.reconciled.record;
    let kept = reconcile(dir.path(), &demand, &config, known, Timestamp::UNIX_EPOCH);
    assert_eq!(kept.reconciled.addresses, shared.reconciled.addresses);
    // It can be read by whoever reads manifests, too, and is none.
    write(dir.path(), &shared.reconciled.record).unwrap();
    assert_eq!(super::read::folder(dir.path()).unwrap(), []);
}
