//! The objects of a folder of manifests, read anew whenever it changes.
//!
//! Any editor and any tool may write there, so nothing in it is trusted to be whole: what cannot be read leaves its
//! last good version in force, and is reported until it is mended. An object goes when its manifest goes. To change
//! several files at one stroke, write them elsewhere and rename.

use std::{
    convert::identity,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use model::Snapshot;
use serde::Serialize;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, info, warn};

use crate::{enrolment::EnrolmentConfig, exclusions::ExclusionConfig};

mod folder;
mod read;
mod watcher;

use self::{folder::Folder, read::SourceFile, watcher::Watcher};

/// In case the watch missed something: a target of a symbolic link that changed elsewhere, a network file system, an
/// exhausted inotify limit.
const RESCAN: Duration = Duration::from_secs(30);

/// Where the manifests are, and which of their pods are to be captured. This source honours the annotation
/// `millstream.dev/netns`: who may write into the folder may do what the agent does.
#[derive(Clone, Debug)]
pub struct FileSource {
    pub dir: PathBuf,
    pub config: EnrolmentConfig,
    pub exclusions: ExclusionConfig,
}

/// Something in the folder that was not taken. The last good version of it, if there was one, is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileRefusal {
    /// The name of the file in the folder.
    pub file: String,
    /// Counted from 1; `None` where the file as a whole is to blame.
    pub document: Option<usize>,
    /// E.g. `Pod shop/cart`, where that much is known.
    pub object: Option<String>,
    /// The path of the field, e.g. `spec.ports[0].port`.
    pub field: Option<String>,
    pub reason: String,
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
    snapshot: watch::Sender<Arc<Snapshot>>,
    refusals: watch::Sender<Vec<FileRefusal>>,
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
        refusals: watch::Sender<Vec<FileRefusal>>,
        mut reload: mpsc::Receiver<()>,
    ) -> Result<(), Error> {
        let Self { dir, config, exclusions } = self;
        let mut published = Published {
            folder: Folder::new(config, exclusions),
            last_read: LastRead::Never,
            snapshot: publish.clone(),
            refusals,
        };
        let mut watcher = Watcher::new();
        let mut rescan = interval(RESCAN);
        rescan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        rescan.reset();
        loop {
            // Before it is read, so that no change falls between; each time, for the folder may be another by now.
            watcher.follow(&dir);
            match read(&dir).await {
                Ok(files) => published.update(files),
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
    fn update(&mut self, files: Vec<SourceFile>) {
        if matches!(&self.last_read, LastRead::Files(last) if *last == files) {
            return;
        }
        let refusals = self.folder.reread(&files);
        self.report(refusals);
        self.publish();
        self.last_read = LastRead::Files(files);
    }

    fn keep(&mut self, dir: &Path, error: &io::Error) {
        let file = dir.display().to_string();
        self.report(vec![FileRefusal { reason: error.to_string(), ..FileRefusal::of_file(file) }]);
        self.last_read = LastRead::Failed;
    }

    /// Before the snapshot: who sees it sees also what is missing from it.
    fn report(&self, refusals: Vec<FileRefusal>) {
        self.refusals.send_if_modified(|known| {
            for refusal in refusals.iter().filter(|refusal| !known.contains(refusal)) {
                warn!(%refusal, "Manifest refused");
            }
            let changed = *known != refusals;
            *known = refusals;
            changed
        });
    }

    fn publish(&self) {
        self.snapshot.send_if_modified(|known| {
            let next = self.folder.snapshot(known.version + 1);
            if known.version != 0 && next.same_content(known) {
                return false;
            }
            info!(
                version = next.version,
                pods = next.pods().len(),
                services = next.services().len(),
                "Snapshot"
            );
            *known = next;
            true
        });
    }
}

// === impl FileRefusal ===

impl FileRefusal {
    fn of_file(file: String) -> Self {
        Self { file, document: None, object: None, field: None, reason: String::new() }
    }
}

impl fmt::Display for FileRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, document, object, field, reason } = self;
        f.write_str(file)?;
        if let Some(document) = document {
            write!(f, ", document {document}")?;
        }
        for part in [object, field].into_iter().flatten() {
            write!(f, ": {part}")?;
        }
        write!(f, ": {reason}")
    }
}

#[cfg(test)]
mod tests;
