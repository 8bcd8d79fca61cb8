//! The record of allocated addresses that all agents of a folder share: a file in it, whose name the manifests' readers
//! pass over.
//!
//! To read it needs no lock, for it is replaced as a whole. Who changes it holds the lock, and reads it again first.
//! Whatever cannot be read is left as it is, and what cannot be written is not in force: another node would not know it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::Path,
    thread,
    time::Duration,
};

use allocation::{AllocationConfig, Demand, Reconciled, Record};
use jiff::Timestamp;

use super::{SourceRefusal, read};
use crate::printable::printable;

pub(super) const RECORD: &str = ".millstream-allocations.json";
/// It must be another file, for the record itself is replaced.
const LOCK: &str = ".millstream-allocations.lock";
const NEXT: &str = ".millstream-allocations.next";
/// Another agent holds the lock for as long as it takes to write a file; one that holds it longer is stuck.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What is in force, and what is wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) reconciled: Reconciled,
    pub(super) refusals: Vec<SourceRefusal>,
}

/// Brings the record in line with `demand`. `known` is what it was when it was last read: it holds where there is none,
/// and while it cannot be read.
pub(super) fn reconcile(
    dir: &Path,
    demand: &Demand,
    config: &AllocationConfig,
    known: &Record,
    now: Timestamp,
) -> Shared {
    let base = match record(dir) {
        Ok(written) => written.unwrap_or_else(|| known.clone()),
        Err(reason) => return Shared::kept(known, demand, config, now, &reason),
    };
    let reconciled = base.reconcile(demand, config, now);
    if reconciled.record == base {
        return Shared::new(reconciled, None);
    }
    match change(dir, demand, config, &base, now) {
        Ok(reconciled) => Shared::new(reconciled, None),
        Err(reason) => Shared::kept(&base, demand, config, now, &reason),
    }
}

/// Under the lock: another agent may have been faster.
fn change(
    dir: &Path,
    demand: &Demand,
    config: &AllocationConfig,
    known: &Record,
    now: Timestamp,
) -> Result<Reconciled, String> {
    let _lock = lock(dir).map_err(|error| format!("cannot be locked by {LOCK}: {error}"))?;
    let written = record(dir)?;
    let reconciled = written.as_ref().unwrap_or(known).reconcile(demand, config, now);
    if written.as_ref() != Some(&reconciled.record) {
        write(dir, &reconciled.record).map_err(|error| format!("cannot be written: {error}"))?;
    }
    Ok(reconciled)
}

/// `None`: nothing was written yet.
fn record(dir: &Path) -> Result<Option<Record>, String> {
    let text = read::text(&dir.join(RECORD)).map_err(|error| format!("cannot be read: {error}"))?;
    let Some(text) = text.transpose()? else { return Ok(None) };
    let record = serde_json::from_str(&text);
    record.map(Some).map_err(|error| format!("makes no sense: {error}"))
}

/// Held until it is dropped, and by nobody who died.
fn lock(dir: &Path) -> io::Result<File> {
    let path = dir.join(LOCK);
    let file = match File::open(&path) {
        // Only then for writing: whoever watches the folder would take each time for a change.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            OpenOptions::new().create(true).append(true).open(&path)?
        }
        file => file?,
    };
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::other("another agent holds it, and does not let go"))
}

/// Whoever reads it, or loses power meanwhile, finds either the old or the new one.
fn write(dir: &Path, record: &Record) -> io::Result<()> {
    let next = dir.join(NEXT);
    let mut file = File::create(&next)?;
    file.write_all(&serde_json::to_vec_pretty(record)?)?;
    file.sync_all()?;
    fs::rename(&next, dir.join(RECORD))?;
    File::open(dir)?.sync_all()
}

// === impl Shared ===

impl Shared {
    fn new(reconciled: Reconciled, unwritten: Option<String>) -> Self {
        let problems = reconciled.problems.iter().map(ToString::to_string);
        let refusal = |reason: String| SourceRefusal {
            reason: printable(reason),
            ..SourceRefusal::of_file(RECORD.to_owned())
        };
        let refusals = unwritten.into_iter().chain(problems).map(refusal).collect();
        Self { reconciled, refusals }
    }

    /// What is known stays in force; what is new gets nothing.
    fn kept(
        known: &Record,
        demand: &Demand,
        config: &AllocationConfig,
        now: Timestamp,
        reason: &str,
    ) -> Self {
        let reconciled = known.reconcile(demand, config, now).only(known);
        let consequence = "hosts keep the addresses that are known, and new ones get none until it is mended";
        Self::new(reconciled, Some(format!("{reason}; {consequence}")))
    }
}

#[cfg(test)]
mod tests;
