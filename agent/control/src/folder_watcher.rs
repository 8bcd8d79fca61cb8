//! Tells when a folder has changed and become quiet again.

use std::{future, path::Path, time::Duration};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tracing::{debug, warn};

/// A file is mostly written in several steps, and several files together.
const QUIET: Duration = Duration::from_millis(20);
/// Somebody who never stops writing must not keep us from reading.
const AT_MOST: Duration = Duration::from_millis(200);

/// Of as many folders as it is told to follow.
#[derive(Debug)]
pub struct FolderWatcher {
    /// `None` where the kernel gives us no watch: then only rescans remain.
    watcher: Option<RecommendedWatcher>,
    /// Holds one: that something changed, not how often.
    changes: mpsc::Receiver<()>,
}

// === impl FolderWatcher ===

impl FolderWatcher {
    /// `what` is in the folders, for the log.
    pub fn new(what: &'static str) -> Self {
        let (changed, changes) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error means that something may have been missed. A full channel says already what we would say.
            if event.as_ref().map_or(true, is_change) {
                let _ = changed.try_send(());
            }
        });
        let watcher = watcher.inspect_err(|error| {
            warn!(%error, what, "Cannot watch folders; they are reread now and then instead");
        });
        Self { watcher: watcher.ok(), changes }
    }

    /// Follows what is at `dir` now. Repeating it does no harm.
    pub fn follow(&mut self, dir: &Path) {
        if let Some(watcher) = &mut self.watcher
            && let Err(error) = notify::Watcher::watch(watcher, dir, RecursiveMode::NonRecursive)
        {
            debug!(%error, dir = %dir.display(), "Cannot watch");
        }
    }

    /// # Cancel safety
    ///
    /// A change is forgotten only if this is dropped while it waits for quiet; the caller is about to read then.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            return future::pending().await;
        }
        let at_most = Instant::now() + AT_MOST;
        while Instant::now() < at_most {
            let quiet = (Instant::now() + QUIET).min(at_most);
            if timeout_at(quiet, self.changes.recv()).await.is_err() {
                return;
            }
        }
    }
}

/// Our own reading opens and closes the files, and must not count, or it would never end.
fn is_change(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}
