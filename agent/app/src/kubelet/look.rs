//! Reads `/proc`. A process may end while it is looked at: then there is none.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::libc::{EACCES, EPERM};

use super::{Process, is_named_so};

/// The namespaces of the agent, which are the node's.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    pub(crate) network: String,
    pub(crate) pids: String,
}

/// Those that are named like a kubelet.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    pub(crate) found: Vec<Process>,
    /// One of them cannot be looked at.
    pub(crate) denied: Option<u32>,
}

// === impl Here ===

impl Here {
    pub(crate) fn look() -> io::Result<Self> {
        // Of this thread: another may be in a pod's namespace for a moment.
        let own = Path::new("/proc/thread-self");
        Ok(Self { network: namespace(own, "net")?, pids: namespace(own, "pid")? })
    }
}

/// Blocks while it goes through all processes.
pub(crate) fn processes() -> io::Result<Processes> {
    let mut processes = Processes::default();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match process(pid) {
            Ok(process) => processes.found.extend(process),
            Err(e) if matches!(e.raw_os_error(), Some(EACCES | EPERM)) => processes.denied = Some(pid),
            Err(_) => {}
        }
    }
    Ok(processes)
}

/// The same process, not another that has its PID by now.
pub(crate) fn is_running(process: &Process) -> bool {
    started(&dir(process.pid)).is_ok_and(|started| started == process.started)
}

impl Process {
    /// Its cgroup v2, if no other process is in it.
    pub(crate) fn own_cgroup(&self, mount: &Path) -> Option<u64> {
        let path = self.cgroups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let cgroup = mount.join(path);
        let members = fs::read_to_string(cgroup.join("cgroup.procs")).ok()?;
        let is_alone = !path.is_empty() && members.lines().all(|member| member == self.pid.to_string());
        if is_alone { Some(fs::metadata(cgroup).ok()?.ino()) } else { None }
    }
}

/// `None` for one of another name, of which nothing more is read.
fn process(pid: u32) -> io::Result<Option<Process>> {
    let dir = dir(pid);
    let name = fs::read_to_string(dir.join("comm"))?.trim_end().to_owned();
    if !is_named_so(&name) {
        return Ok(None);
    }
    let status = fs::read_to_string(dir.join("status"))?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    Ok(Some(Process {
        pid,
        started: started(&dir)?,
        name,
        users: users.split_whitespace().filter_map(|user| user.parse().ok()).collect(),
        network: namespace(&dir, "net")?,
        pids: namespace(&dir, "pid")?,
        cgroups: fs::read_to_string(dir.join("cgroup"))?,
    }))
}

fn dir(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

fn namespace(process: &Path, kind: &str) -> io::Result<String> {
    Ok(fs::read_link(process.join("ns").join(kind))?.to_string_lossy().into_owned())
}

/// Field 22 of `stat`; proc_pid_stat(5). The name before it may hold anything.
fn started(process: &Path) -> io::Result<u64> {
    let stat = fs::read_to_string(process.join("stat"))?;
    let field = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok());
    field.ok_or_else(|| io::Error::other("stat is not as proc_pid_stat(5) says"))
}
