//! A cgroup-v2 leaf of the agent's own: the connect hooks know the agent by it.
//!
//! Source: <https://docs.kernel.org/admin-guide/cgroup-v2.html>.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::Error;

/// Where cgroup v2 is mounted: the whole of `/sys/fs/cgroup`, or `…/unified` on a hybrid machine. `None`: nowhere.
pub fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let kind = after.split(' ').next()?;
        (kind == "cgroup2").then(|| PathBuf::from(before.split(' ').nth(4).unwrap_or_default()))
    })
}

/// The cgroup the agent of a node runs in.
#[derive(Debug)]
pub struct AgentCgroup {
    path: PathBuf,
    before: PathBuf,
    id: u64,
}

// === impl AgentCgroup ===

impl AgentCgroup {
    pub fn path_for(mount: &Path, node: &str) -> PathBuf {
        mount.join(format!("millstream-{node}"))
    }

    /// Makes the leaf and moves this process into it. It was alone in its cgroup or not: strangers that share
    /// one with the agent would be taken for it.
    pub fn join(mount: &Path, node: &str) -> Result<Self, Error> {
        let path = Self::path_for(mount, node);
        let failed = |op| {
            let path = path.clone();
            move |source| Error::File { op, path, source }
        };
        let before = current(mount).map_err(failed("find the cgroup before"))?;
        fs::create_dir_all(&path).map_err(failed("create cgroup"))?;
        enter(&path).map_err(failed("enter cgroup"))?;
        // In cgroup v2 the id of a cgroup is the inode number of its directory.
        let id = fs::metadata(&path).map_err(failed("stat cgroup"))?.ino();
        Ok(Self { path, before, id })
    }

    /// What `bpf_get_current_cgroup_id` returns for processes in it.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for AgentCgroup {
    fn drop(&mut self) {
        // A busy leaf (the next agent is in it) stays, and is the next one's to remove.
        let _best_effort = enter(&self.before).and_then(|()| fs::remove_dir(&self.path));
    }
}

fn enter(cgroup: &Path) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
}

fn current(mount: &Path) -> io::Result<PathBuf> {
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let v2 = cgroups.lines().find_map(|line| line.strip_prefix("0::/"));
    v2.map(|path| mount.join(path)).ok_or_else(|| io::Error::other("no cgroup-v2 line in /proc/self/cgroup"))
}
