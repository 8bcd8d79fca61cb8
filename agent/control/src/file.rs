//! The objects of a folder of manifests, read anew whenever it changes.
//!
//! Any editor and any tool may write there, so nothing in it is trusted to be whole: what cannot be read leaves its
//! last good version in force, and is reported until it is mended. An object goes when its manifest goes. To change
//! several files at one stroke, write them elsewhere and rename.

use std::{
    convert::identity,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use allocation::{AllocationConfig, Mode};
use jiff::Timestamp;
use model::Snapshot;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tracing::debug;

use crate::{
    folder_watcher::FolderWatcher,
    index::IndexConfig,
    publisher::Publisher,
    source::{SourceRefusal, SourceReport},
};

mod allocations;
mod folder;
mod read;

use self::{allocations::Shared, folder::Folder, read::SourceFile};

/// In case the watch missed something: a target of a symbolic link that changed elsewhere, a network file system, an
/// exhausted inotify limit.
const RESCAN: Duration = Duration::from_secs(30);

/// Where the manifests are, and which of their pods are to be captured. This source honours the annotation
/// `millstream.dev/netns`: who may write into the folder may do what the agent does.
#[derive(Clone, Debug)]
pub struct FileSource {
    pub dir: PathBuf,
    pub config: IndexConfig,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the folder of manifests {}", dir.display())]
    ReadFolder { dir: PathBuf, source: io::Error },
}

/// What was published last, and what it was made from.
struct Published {
    folder: Folder,
    last_read: LastRead,
    /// Of what was read last.
    refusals: Vec<SourceRefusal>,
    config: AllocationConfig,
    shared: Shared,
    publisher: Publisher,
}

enum LastRead {
    Never,
    /// What the folder holds when it is back must be looked at, even if it is what it was.
    Failed,
    Files(Vec<SourceFile>),
}

// === impl FileSource ===

impl FileSource {
    /// Publishes a snapshot now and after each change that means something, until nobody receives them any more.
    /// A message on `reload` makes it look at once.
    ///
    /// # Errors
    ///
    /// Only at the start, if there is no folder to read. One that disappears later is a refusal, and what it said
    /// stays in force.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn run(
        self,
        publish: watch::Sender<Arc<Snapshot>>,
        reports: watch::Sender<SourceReport>,
        mut reload: mpsc::Receiver<()>,
    ) -> Result<(), Error> {
        let Self { dir, config } = self;
        let mut published = Published {
            config: config.dns.allocation.clone(),
            folder: Folder::new(config),
            last_read: LastRead::Never,
            refusals: Vec::new(),
            shared: Shared::default(),
            publisher: Publisher { snapshots: publish.clone(), reports },
        };
        let mut watcher = FolderWatcher::new("manifests");
        let mut rescan = interval(RESCAN);
        rescan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        rescan.reset();
        loop {
            // Before it is read, so that no change falls between; each time, for the folder may be another by now.
            watcher.follow(&dir);
            match read(&dir).await {
                Ok(files) => published.update(&dir, files).await,
                Err(source) => match published.last_read {
                    LastRead::Never => return Err(Error::ReadFolder { dir, source }),
                    LastRead::Failed | LastRead::Files(_) => published.keep(&dir, &source),
                },
            }
            tokio::select! {
                () = publish.closed() => return Ok(()),
                () = watcher.changed() => debug!("Folder changed"),
                Some(()) = reload.recv() => debug!("Reload asked for"),
                _ = rescan.tick() => {}
            }
        }
    }
}

async fn read(dir: &Path) -> io::Result<Vec<SourceFile>> {
    let dir = dir.to_owned();
    spawn_blocking(move || read::folder(&dir)).await.map_err(io::Error::other).and_then(identity)
}

// === impl Published ===

impl Published {
    async fn update(&mut self, dir: &Path, files: Vec<SourceFile>) {
        let is_known = matches!(&self.last_read, LastRead::Files(last) if *last == files);
        if !is_known {
            self.refusals = self.folder.reread(&files);
            self.last_read = LastRead::Files(files);
        }
        // Another agent may have changed the record, although no manifest has changed.
        let shared = self.shared(dir).await;
        if is_known && shared == self.shared {
            return;
        }
        let refusals = self.refusals.iter().chain(&shared.refusals).cloned().collect();
        self.folder.allocate(shared.reconciled.clone());
        self.shared = shared;
        self.publisher.report(SourceReport { refusals, troubles: Vec::new() });
        self.publisher.publish(|version| self.folder.snapshot(version));
    }

    /// What hosts are given, as it is written down by now.
    async fn shared(&self, dir: &Path) -> Shared {
        if self.config.mode != Mode::Recorded {
            return Shared::default();
        }
        let (dir, config) = (dir.to_owned(), self.config.clone());
        let demand = self.folder.demand(self.refusals.is_empty());
        let known = self.shared.reconciled.record.clone();
        let reconcile = move || allocations::reconcile(&dir, &demand, &config, &known, Timestamp::now());
        spawn_blocking(reconcile).await.unwrap_or_else(|died| {
            let reason = format!("cannot be brought in line with the manifests: {died}");
            let refusal = SourceRefusal { reason, ..SourceRefusal::of_file(allocations::RECORD.to_owned()) };
            Shared { reconciled: self.shared.reconciled.clone(), refusals: vec![refusal] }
        })
    }

    fn keep(&mut self, dir: &Path, error: &io::Error) {
        let file = dir.display().to_string();
        let refusal = SourceRefusal { reason: error.to_string(), ..SourceRefusal::of_file(file) };
        self.publisher.report(SourceReport { refusals: vec![refusal], troubles: Vec::new() });
        self.last_read = LastRead::Failed;
    }
}

#[cfg(test)]
mod tests;
