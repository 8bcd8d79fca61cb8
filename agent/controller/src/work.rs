//! One round after the other: what has changed is looked at, and the one that leads writes what follows.

use std::{collections::BTreeSet, future, sync::Arc, time::Duration};

use allocation::AllocationConfig;
use control::{EntriesSource, entries::Entries, kubernetes::AllocatorNotes};
use jiff::Timestamp;
use model::ObjectName;
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use crate::{allocator::Allocator, election::Term, freed::Freed, istiod::Runs, told::Told, writer::Writer};

/// After something went wrong.
const AGAIN: Duration = Duration::from_secs(5);

pub(crate) struct Work {
    source: EntriesSource,
    allocator: Allocator,
    freed: Freed,
    writer: Writer,
    told: Told,
    /// Whether this one has taken over from the leader before.
    has_begun: bool,
    /// What was said of the allocation as a whole.
    said: BTreeSet<String>,
}

/// The ServiceEntries, followed until it is dropped.
struct Followed {
    entries: watch::Receiver<Option<Arc<Entries>>>,
    task: JoinHandle<Result<(), JoinError>>,
}

// === impl Work ===

impl Work {
    pub(crate) fn new(
        source: EntriesSource,
        config: AllocationConfig,
        namespace: &str,
        name: &str,
        identity: &str,
    ) -> Self {
        let (client, manager) = (source.client().clone(), format!("{name}-controller"));
        let notes = AllocatorNotes::new(client.clone(), &ObjectName::new(namespace, name));
        Self {
            allocator: Allocator::new(config),
            freed: Freed::new(client.clone(), namespace, name, &manager),
            writer: Writer::new(client, &manager, identity),
            told: Told::new(notes, &manager, identity),
            source,
            has_begun: false,
            said: BTreeSet::new(),
        }
    }

    /// For ever, unless a task died.
    pub(crate) async fn run(
        mut self,
        mut leads: watch::Receiver<Term>,
        mut istiod: watch::Receiver<Runs>,
        ready: Arc<watch::Sender<bool>>,
    ) -> Result<(), JoinError> {
        let mut followed = Followed::begin(&self.source);
        let mut led = false;
        let mut again = None;
        loop {
            let leads_now = leads.borrow_and_update().is_some_and(|until| Instant::now() < until);
            if leads_now && !led {
                // What the leader before wrote last must be known: it is all listed anew.
                followed = Followed::begin(&self.source);
                self.has_begun = false;
                self.told.begin_anew();
            }
            led = leads_now;
            let entries = followed.entries.borrow_and_update().clone();
            let runs = istiod.borrow_and_update().clone();
            if let Some(entries) = entries {
                ready.send_replace(true);
                again = match (leads_now, &runs) {
                    (true, Runs::No) => self.lead(&entries, &leads).await,
                    (true, Runs::Yes(_)) => self.stand_by(&entries, &runs).await,
                    (true, Runs::Unknown) | (false, _) => {
                        self.allocator.observe(&entries, Timestamp::now());
                        None
                    }
                };
            }
            tokio::select! {
                died = &mut followed.task => return died.and_then(|ended| ended),
                Ok(()) = followed.entries.changed() => {}
                () = until_changed(&mut leads, led) => {}
                Ok(()) = istiod.changed() => {}
                () = at(again) => {}
            }
        }
    }

    /// Returns when to tell it again, where that went wrong.
    async fn stand_by(&mut self, entries: &Entries, runs: &Runs) -> Option<Instant> {
        self.allocator.observe(entries, Timestamp::now());
        let told = self.told.tell(Some(runs.to_string()), &[]).await;
        let is_told = told.is_ok();
        let lines: Vec<_> = [format!("{ISTIOD}{runs}")].into_iter().chain(told.err()).collect();
        self.say(&lines, |_| true);
        (!is_told).then(|| Instant::now() + AGAIN)
    }

    /// Returns when to look again, if nothing changes before.
    async fn lead(&mut self, entries: &Entries, leads: &watch::Receiver<Term>) -> Option<Instant> {
        self.say(&[], |said| said.starts_with(ISTIOD));
        if !self.has_begun {
            match self.freed.read().await {
                Ok(freed) => {
                    self.allocator.observe(entries, Timestamp::now());
                    self.allocator.adopt_freed(&freed);
                    self.has_begun = true;
                }
                Err(reason) => {
                    self.say(&[format!("{FREED}no addresses are given: {reason}")], |said| {
                        said.starts_with(FREED)
                    });
                    return Some(Instant::now() + AGAIN);
                }
            }
        }
        let now = Timestamp::now();
        let plan = self.allocator.plan(entries, now);
        // Before anything is given: who comes next must know what is not to be.
        let written = self.freed.write(self.allocator.freed(now)).await;
        let unwritten = written.as_ref().err().map(|reason| format!("{FREED}{reason}"));
        let mut problems: Vec<_> = plan.problems.into_iter().chain(unwritten).collect();
        let told = self.told.tell(None, &problems).await;
        let is_written = written.is_ok() && told.is_ok();
        problems.extend(told.err());
        self.say(&problems, |said| !said.starts_with(ISTIOD));
        let retry = self.writer.patch(entries, plan.patches, leads).await;
        self.writer.complain(entries, &plan.complaints).await;
        let more = self.writer.has_more(&plan.complaints);
        let later = (!is_written).then(|| Instant::now() + AGAIN);
        [retry, more, later].into_iter().flatten().min()
    }

    /// Each line once, until it is not so any more. `among`: which of those that were said it is about.
    fn say(&mut self, lines: &[String], among: impl Fn(&str) -> bool) {
        let now: BTreeSet<String> = lines.iter().cloned().collect();
        let new: Vec<_> = now.difference(&self.said).collect();
        for line in new.iter().take(LINES_MAX) {
            warn!(problem = line, "Allocation");
        }
        let more = new.len().saturating_sub(LINES_MAX);
        if 0 < more {
            warn!(more, "Allocation: more of the same kind");
        }
        let past = self.said.iter().filter(|said| among(said) && !now.contains(*said));
        for past in past.take(LINES_MAX) {
            info!(problem = past, "No longer so");
        }
        self.said.retain(|said| !among(said));
        self.said.extend(now);
    }
}

/// At once.
const LINES_MAX: usize = 20;

/// What lines are about.
const ISTIOD: &str = "standing by: ";
const FREED: &str = "the ConfigMap of freed addresses: ";

/// A term that is only prolonged is no change.
async fn until_changed(leads: &mut watch::Receiver<Term>, led: bool) {
    loop {
        let until = leads.borrow_and_update().filter(|until| Instant::now() < *until);
        if until.is_some() != led {
            return;
        }
        tokio::select! {
            changed = leads.changed() => if changed.is_err() { return future::pending().await },
            () = at(until) => return,
        }
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => future::pending().await,
    }
}

// === impl Followed ===

impl Followed {
    fn begin(source: &EntriesSource) -> Self {
        let (publish, entries) = watch::channel(None);
        let task = tokio::spawn(source.clone().run(publish));
        Self { entries, task }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}
