use std::{fs, path::PathBuf};

use model::{ObjectName, PodUid, WhenAgentDown};

use super::{Entry, Journal};
use crate::{Error, Family, Steering, plan::Change};

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("millstream-journal-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn entry(uid: &str) -> Entry {
    Entry {
        uid: PodUid::new(uid),
        pod: ObjectName::new("shop", "web"),
        netns: "/run/netns/web".into(),
        netns_cookie: 7,
        netns_inode: 4_026_532_000,
        when_agent_down: WhenAgentDown::Open,
        steering: Steering::default(),
        changes: vec![
            Change::Sysctl { name: "net/ipv4/fwmark_reflect".into(), before: "0".into(), after: "1".into() },
            Change::Route { family: Family::V6, source: "2001:db8::7".parse().unwrap() },
            Change::Rule { family: Family::V6 },
        ],
    }
}

#[test]
fn an_entry_comes_back_as_it_was_written() {
    let dir = Dir::new("roundtrip");
    let journal = Journal::new(&dir.0);
    for uid in ["5d1c", "../../escape", "a/b", ""] {
        journal.write(&entry(uid)).unwrap();
        assert_eq!(journal.read(&PodUid::new(uid)).unwrap(), Some(entry(uid)), "{uid}");
    }
    assert_eq!(journal.all().0.len(), 4);
    assert!(!dir.0.parent().unwrap().join("escape.json").exists());
    journal.remove(&PodUid::new("5d1c")).unwrap();
    journal.remove(&PodUid::new("5d1c")).unwrap();
    assert_eq!(journal.read(&PodUid::new("5d1c")).unwrap(), None);
}

#[test]
fn a_damaged_entry_is_named_and_hides_no_other() {
    let dir = Dir::new("damaged");
    let journal = Journal::new(&dir.0);
    journal.write(&entry("whole")).unwrap();
    fs::write(dir.0.join("torn.json"), b"{\"uid\": \"torn\",").unwrap();
    let (entries, damaged) = journal.all();
    assert_eq!(entries, vec![entry("whole")]);
    let [Error::Journal { path, .. }] = &damaged[..] else {
        panic!("{damaged:?}");
    };
    assert!(path.ends_with("torn.json"));
}
