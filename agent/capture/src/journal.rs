//! What was changed in a pod's namespace, written down before it is changed.
//!
//! One JSON file for each captured pod, replaced whole. It outlives the agent: the next one adopts it, and
//! `millstream cleanup` undoes it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use model::{ObjectName, PodUid, WhenAgentDown};
use serde::{Deserialize, Serialize};

use crate::{Error, Steering, pins::gone, plan::Change};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub uid: PodUid,
    pub pod: ObjectName,
    pub netns: PathBuf,
    pub netns_cookie: u64,
    pub netns_inode: u64,
    pub when_agent_down: WhenAgentDown,
    /// The marks, table and priority in force when the changes were made.
    pub steering: Steering,
    /// In the order in which they were made; undone in reverse.
    pub changes: Vec<Change>,
}

/// The journal of a node.
#[derive(Clone, Debug)]
pub struct Journal {
    dir: PathBuf,
}

// === impl Journal ===

impl Journal {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub fn write(&self, entry: &Entry) -> Result<(), Error> {
        let path = self.path(&entry.uid);
        let text = serde_json::to_vec_pretty(entry)
            .map_err(|e| Error::Journal { path: path.clone(), reason: e.to_string() })?;
        let failed = |source| Error::File { op: "write journal", path: path.clone(), source };
        fs::create_dir_all(&self.dir).map_err(failed)?;
        let new = path.with_extension("new");
        fs::write(&new, text).map_err(failed)?;
        fs::rename(&new, &path).map_err(failed)
    }

    pub fn read(&self, uid: &PodUid) -> Result<Option<Entry>, Error> {
        read_file(&self.path(uid))
    }

    pub fn remove(&self, uid: &PodUid) -> Result<(), Error> {
        let path = self.path(uid);
        gone(fs::remove_file(&path)).map_err(|source| Error::File { op: "remove journal", path, source })
    }

    /// All entries, in file order, and the files that cannot be read.
    pub fn all(&self) -> (Vec<Entry>, Vec<Error>) {
        let Ok(files) = fs::read_dir(&self.dir) else {
            return (Vec::new(), Vec::new());
        };
        let mut paths: Vec<PathBuf> = files
            .flatten()
            .map(|f| f.path())
            .filter(|p| p.extension().is_some_and(|e| e == "json"))
            .collect();
        paths.sort();
        let (mut entries, mut damaged) = (Vec::new(), Vec::new());
        for path in paths {
            match read_file(&path) {
                Ok(entry) => entries.extend(entry),
                Err(e) => damaged.push(e),
            }
        }
        (entries, damaged)
    }

    /// UIDs come from manifests: a name that could leave the directory is spelled out in hexadecimal.
    fn path(&self, uid: &PodUid) -> PathBuf {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let name: String = uid
            .as_str()
            .bytes()
            .map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02x}") })
            .collect();
        self.dir.join(format!("pod-{name}.json"))
    }
}

fn read_file(path: &Path) -> Result<Option<Entry>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::File { op: "read journal", path: path.to_owned(), source }),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|e| Error::Journal { path: path.to_owned(), reason: e.to_string() })
}

#[cfg(test)]
mod tests;
