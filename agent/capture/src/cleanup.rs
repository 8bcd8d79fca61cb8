//! Removes every trace of a node's agent, from what it left: the journal and the pins.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use model::ObjectName;
use netns::Netns;

use crate::{
    Config, Error,
    cgroup::{self, AgentCgroup},
    change::revert,
    journal::{Entry, Journal},
    netlink::Netlink,
};

/// What was found and what became of it.
#[derive(Debug)]
pub struct Cleaned {
    pub pod: ObjectName,
    pub outcome: Outcome,
}

#[derive(Debug)]
pub enum Outcome {
    /// The pod's namespace is as it was before it was enrolled.
    Restored {
        changes: usize,
    },
    /// The namespace is gone, and everything in it.
    Gone,
    Failed(Error),
}

/// Undoes the journal, pod by pod, then removes pins and the agent's cgroup. Safe to run twice. A pod that
/// cannot be restored keeps its journal, so that the next run tries again.
pub async fn cleanup(config: &Config, node: &str) -> Result<Vec<Cleaned>, Error> {
    let journal = Journal::new(&config.journal);
    let (entries, damaged) = journal.all();
    // Without pins nothing is captured any more, so what is undone next carries no new connection.
    config.pins.remove_all()?;
    let mut cleaned = Vec::new();
    for entry in entries {
        let outcome = match restore(&entry).await {
            Ok(outcome) => {
                journal.remove(&entry.uid)?;
                outcome
            }
            Err(e) => Outcome::Failed(e),
        };
        cleaned.push(Cleaned { pod: entry.pod, outcome });
    }
    let unknown = ObjectName::new("?", "?");
    cleaned
        .extend(damaged.into_iter().map(|e| Cleaned { pod: unknown.clone(), outcome: Outcome::Failed(e) }));
    let _with_entries_that_failed = fs::remove_dir(&config.journal);
    if let Some(mount) = cgroup::mount() {
        let _never_made_or_in_use = fs::remove_dir(AgentCgroup::path_for(&mount, node));
    }
    Ok(cleaned)
}

/// Takes back the changes of one entry, if its namespace is still there.
pub(crate) async fn restore(entry: &Entry) -> Result<Outcome, Error> {
    let Some(netns) = find(entry) else {
        return Ok(Outcome::Gone);
    };
    let netlink = Netlink::open(&netns)?;
    for change in entry.changes.iter().rev() {
        revert(&netns, &netlink, change, &entry.steering).await?;
    }
    Ok(Outcome::Restored { changes: entry.changes.len() })
}

/// The namespace of an entry: where it was, or behind any process that still runs in it.
fn find(entry: &Entry) -> Option<Netns> {
    let matches = |path: &Path| {
        let inode = fs::metadata(path).ok()?.ino();
        let candidate = (inode == entry.netns_inode).then(|| Netns::open(path).ok())??;
        (candidate.cookie() == entry.netns_cookie).then_some(candidate)
    };
    matches(&entry.netns).or_else(|| {
        let processes = fs::read_dir("/proc").ok()?;
        processes.flatten().find_map(|process| matches(&process.path().join("ns/net")))
    })
}
