//! A cgroup-v2 leaf of the agent's own: the connect hooks know the agent by it.
//!
//! Source: <https://docs.kernel.org/admin-guide/cgroup-v2.html>.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns};

use crate::Error;

/// Where the DaemonSet mounts the node's cgroups: over `/sys/fs/cgroup` a container has some of its own, read-only.
const HANDED_IN: &str = "/host/cgroup";

/// Where cgroup v2 is mounted: the whole of `/sys/fs/cgroup`, or `…/unified` on a hybrid machine. `None`: nowhere.
pub fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut found = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let kind = after.split(' ').next()?;
        (kind == "cgroup2").then(|| PathBuf::from(before.split(' ').nth(4).unwrap_or_default()))
    });
    let first = found.next()?;
    if first.starts_with(HANDED_IN) {
        return Some(first);
    }
    Some(found.find(|mount| mount.starts_with(HANDED_IN)).unwrap_or(first))
}

/// Enters the node's cgroup namespace, where this process is in one of its own, as in a container: then cgroups have the
/// names that they have on the node, and the process may move to another. For a process that has one thread yet.
pub fn enter_node_namespace() -> Result<(), Error> {
    let (own, nodes) = (Path::new("/proc/self/ns/cgroup"), Path::new("/proc/1/ns/cgroup"));
    let failed = |source| Error::File { op: "enter the cgroup namespace", path: nodes.to_owned(), source };
    // Who may not even look may not enter either; whether it matters shows when the agent joins its own cgroup.
    let (Ok(own), Ok(names)) = (fs::read_link(own), fs::read_link(nodes)) else { return Ok(()) };
    if own == names {
        return Ok(());
    }
    let nodes = File::open(nodes).map_err(failed)?;
    setns(nodes, CloneFlags::CLONE_NEWCGROUP).map_err(|e| failed(e.into()))
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
