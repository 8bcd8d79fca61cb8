//! Which of a node's agents may write: to its pods, to the programs' maps, to the run directory.
//!
//! An upgrade lets two of them overlap. The writer holds `RUN_DIR/agent.lock`. A newer agent, once it knows as much,
//! asks it to step down: it finishes what it has in hand, lets the lock go, and from then on only serves the
//! connections that it has. One that does not answer, because it is stopped or stuck, is not waited for: the newer puts
//! a lock of its own in that place, and when the older wakes, its file has no name any more and it writes nothing.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tracing::{info, warn};

use crate::{
    api::Request,
    client::ask,
    run_dir::{AgentFile, RunDir},
};

/// A writer finishes what it has in hand in milliseconds; with hundreds of pods at once, in a second or two.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between tries for the lock.
const KNOCK: Duration = Duration::from_millis(10);

/// How often it is looked whether there is a writer.
const LOOK: Duration = Duration::from_millis(50);

/// How often a writer that nobody has asked looks whether it was replaced.
const ROUND: Duration = Duration::from_secs(1);

/// The right to write. Clones are the same; it goes with [`Tenure::end`], with the last of them, or with the process.
#[derive(Clone, Debug)]
pub struct Tenure(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lock: Mutex<Option<Flock<File>>>,
    asked: watch::Sender<bool>,
    generation: u64,
    drain_file: PathBuf,
}

/// As long as it is held, the next agent leaves in the pods what open connections need.
#[derive(Debug)]
pub struct Draining {
    _lock: Option<Flock<File>>,
}

// === impl Tenure ===

impl Tenure {
    /// Becomes the writer of the node: at once, or after the agent that is.
    ///
    /// # Errors
    ///
    /// If the run directory cannot be written, or belongs to another node.
    pub async fn take(run_dir: &RunDir, node: &str) -> Result<Self> {
        let path = run_dir.lock_file();
        let before = run_dir.read_if_there()?;
        if let Some(AgentFile { node: other, .. }) = &before {
            ensure!(
                other == node,
                "{} belongs to the agent of node {other}: give this one another --run-dir",
                run_dir.path().display()
            );
        }
        let lock = match try_lock(&path)? {
            Some(lock) => lock,
            None => succeed(run_dir, &path).await?,
        };
        // Read again: the agent before may have been new itself.
        let generation = run_dir.read_if_there()?.map_or(0, |agent| agent.generation) + 1;
        let asked = watch::Sender::new(false);
        let (lock, drain_file) = (Mutex::new(Some(lock)), run_dir.drain_file());
        Ok(Self(Arc::new(Inner { lock, asked, generation, drain_file })))
    }

    /// One more than that of the agent before.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// Whether an agent before this one still has connections.
    pub fn is_predecessor_draining(&self) -> bool {
        File::open(&self.0.drain_file)
            .is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err())
    }

    /// Whether this agent may write, as of now.
    pub fn holds(&self) -> bool {
        !*self.0.asked.borrow() && self.lock().as_ref().is_some_and(has_name)
    }

    /// A newer agent asks for it.
    pub fn step_down(&self) {
        self.0.asked.send_replace(true);
    }

    /// Returns once a newer agent has asked for it, or taken it.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn until_lost(&self) {
        let mut asked = self.0.asked.subscribe();
        while self.holds() {
            tokio::select! {
                _ = asked.changed() => {}
                () = sleep(ROUND) => {}
            }
        }
    }

    /// Lets it go: whoever waits for it has it now.
    pub fn end(&self) -> Draining {
        self.0.asked.send_replace(true);
        let drain = || -> io::Result<_> {
            let file = File::create(&self.0.drain_file)?;
            Flock::lock(file, FlockArg::LockSharedNonblock).map_err(|(_, e)| e.into())
        };
        let lock = drain().inspect_err(|error| {
            warn!(%error, "The next agent cannot be told that connections are open: it may release pods under them");
        });
        self.lock().take();
        Draining { _lock: lock.ok() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Flock<File>>> {
        self.0.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether some agent is the writer.
pub fn is_held(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
}

/// Returns once some agent is the writer, or none is.
pub async fn until_held(path: &Path, held: bool) {
    while is_held(path) != held {
        sleep(LOOK).await;
    }
}

async fn succeed(run_dir: &RunDir, path: &Path) -> Result<Flock<File>> {
    let predecessor = run_dir.read().map_or_else(|_| "?".to_owned(), |agent| agent.pid.to_string());
    info!(pid = predecessor, "Another agent works on this node: it is asked to step down");
    let asked = run_dir.clone();
    let asking = spawn_blocking(move || ask::<()>(&asked, &Request::StepDown));
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(lock) = try_lock(path)? {
            return Ok(lock);
        }
        sleep(KNOCK).await;
    }
    asking.abort();
    warn!(
        pid = predecessor,
        after = ?PATIENCE,
        "The agent before does not step down; is it stopped or stuck? It is replaced, and when it wakes writes nothing"
    );
    usurp(path)
}

/// `None`: somebody has it.
fn try_lock(path: &Path) -> Result<Option<Flock<File>>> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        // Else it was replaced between the two calls.
        Ok(lock) => Ok(has_name(&lock).then_some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(io::Error::from(e)).with_context(|| format!("cannot lock {}", path.display())),
    }
}

fn usurp(path: &Path) -> Result<Flock<File>> {
    let new = PathBuf::from(format!("{}.{}", path.display(), std::process::id()));
    let usurp = || -> io::Result<_> {
        let lock = Flock::lock(File::create(&new)?, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e)?;
        fs::rename(&new, path)?;
        Ok(lock)
    };
    usurp().with_context(|| format!("cannot replace {}", path.display()))
}

fn has_name(lock: &Flock<File>) -> bool {
    lock.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
}

#[cfg(test)]
mod tests;
