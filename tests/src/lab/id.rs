//! Names, and the files that go by them.

use std::{
    fmt, fs,
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::{cgroup, manifest};

/// All that labs keep in files: a folder per lab, and beside it the lock that its owner holds.
const BASE: &str = "/run/millstream-lab";

/// What every trace of a lab has in its name, so that it can be found and removed by name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabId(String);

// === impl LabId ===

impl LabId {
    pub(super) fn new(name: &str) -> Result<Self> {
        one_word(name)?;
        Ok(Self(format!("{name}-{}", std::process::id())))
    }

    /// The labs of which there are files, standing, dead or alive.
    pub(crate) fn all() -> Vec<Self> {
        let entries = fs::read_dir(BASE).into_iter().flatten().flatten();
        let dirs = entries.filter(|entry| entry.path().is_dir());
        dirs.map(|entry| Self(entry.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Where all of its files are.
    pub fn dir(&self) -> PathBuf {
        Path::new(BASE).join(&self.0)
    }

    pub(crate) fn lock_file(&self) -> PathBuf {
        Path::new(BASE).join(format!("{}.lock", self.0))
    }

    /// The lock of the owner, or `None` when somebody holds it.
    pub(crate) fn lock(&self) -> Result<Option<Flock<File>>> {
        fs::create_dir_all(BASE).context(BASE)?;
        let path = self.lock_file();
        let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
        // The owner may have removed its lab between the two lines above, and somebody made it anew: then
        // what is locked is no longer the file of that name.
        let is_current =
            fs::metadata(&path).is_ok_and(|now| lock.metadata().is_ok_and(|m| m.ino() == now.ino()));
        Ok(is_current.then_some(lock))
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.dir().join("manifests")
    }

    pub(crate) fn cgroup(&self) -> Result<PathBuf> {
        Ok(cgroup::root()?.join(self.cgroup_name()))
    }

    /// Its cgroups in all hierarchies, those of version 1 too: nodes of a cluster have pods there.
    pub(crate) fn cgroups(&self) -> Result<Vec<PathBuf>> {
        Ok(cgroup::hierarchies()?.into_iter().map(|root| root.join(self.cgroup_name())).collect())
    }

    fn cgroup_name(&self) -> String {
        format!("ms-{self}")
    }

    /// The name of a namespace under /run/netns.
    pub(crate) fn netns(&self, place: &str) -> String {
        format!("ms-{self}-{place}")
    }

    /// What a node is called in Kubernetes, and by its agent.
    pub(crate) fn node(&self, node: &str) -> String {
        format!("{self}-{node}")
    }

    /// Where the agent of a node keeps its files.
    pub(crate) fn run_dir(&self, node: &str) -> PathBuf {
        self.dir().join(node).join("run")
    }

    pub(crate) fn write_object(&self, object: &serde_json::Value) -> Result<()> {
        self.write_manifest(&manifest::file_name(object), &manifest::to_yaml(object)?)
    }

    /// Watchers see the old text or the new one, never a part.
    pub(crate) fn write_manifest(&self, file: &str, text: &str) -> Result<()> {
        let path = self.manifests().join(file);
        let new = self.dir().join(format!("{file}.new"));
        let write = || {
            fs::write(&new, text)?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn remove_manifest(&self, file: &str) -> Result<()> {
        let path = self.manifests().join(file);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }
}

impl fmt::Display for LabId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names end up in names of namespaces, joined by dashes: one dash more and `a-b` is two things.
pub(super) fn one_word(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.is_empty() || !name.chars().all(fits) {
        bail!("{name:?} is not one word of lower-case letters and digits");
    }
    Ok(())
}
