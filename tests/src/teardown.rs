//! Removing a lab, by its name alone: the same way at the end of a test, for a lab whose owner was killed,
//! and for a standing one.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use netns::Netns;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    agent, cgroup,
    lab::LabId,
    namespace,
    place::{PATIENCE, Place},
};

const PINS: &str = "/sys/fs/bpf/millstream";

/// Removes every trace. Goes on after a failure, and tells of the first.
pub(crate) fn raze(id: &LabId) -> Result<()> {
    let cgroup = id.cgroup()?;
    let steps = [
        kill_all(id, &cgroup),
        clean_up(id, &cgroup),
        remove_all(&namespaces(id), namespace::remove),
        remove_all(&cgroups(id), cgroup::remove),
        remove_all(&pins(id), remove_tree),
        remove_tree(&id.dir()),
        remove_file(&id.lock_file()),
    ];
    steps.into_iter().collect()
}

/// All that still bears the name of a lab.
pub(crate) fn leftovers(id: &LabId) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut note = |what: &str, paths: Vec<PathBuf>| {
        found.extend(paths.iter().map(|path| format!("{what} {}", path.display())));
    };
    note("namespace", namespaces(id));
    note("pins", pins(id));
    note("cgroup", cgroups(id));
    note("file", [id.dir(), id.lock_file()].into_iter().filter(|path| path.exists()).collect());
    let mounts = fs::read("/proc/self/mounts").unwrap_or_default();
    let mine = id.netns("");
    for line in mounts.split(|byte| *byte == b'\n') {
        if line.windows(mine.len()).any(|window| window == mine.as_bytes()) {
            found.push(format!("mount {}", String::from_utf8_lossy(line)));
        }
    }
    let command_lines = all_processes().into_iter().filter_map(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let dir = id.dir();
        let dir = dir.as_os_str().as_bytes();
        line.windows(dir.len()).any(|window| window == dir).then_some(pid)
    });
    found.extend(command_lines.map(|pid| format!("process {pid}")));
    found
}

/// Kills what runs in the cgroups or the namespaces of the lab, and waits until it is dead.
fn kill_all(id: &LabId, cgroup: &Path) -> Result<()> {
    cgroup::kill(cgroup)?;
    let inodes: BTreeSet<u64> =
        namespaces(id).iter().filter_map(|path| Netns::open(path).ok()).map(|netns| netns.inode()).collect();
    let strays = || all_processes().into_iter().filter(|pid| runs_in(*pid, &inodes));
    let killed: Vec<i32> = strays().collect();
    for &pid in &killed {
        match kill(Pid::from_raw(pid), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => return Err(e).with_context(|| format!("cannot kill process {pid}")),
        }
    }
    // A process leaves its namespace before its files are closed, its locks among them.
    until_dead(|| cgroup::processes(cgroup).into_iter().chain(strays()).chain(killed.clone()).collect())
        .with_context(|| format!("in lab {id}"))
}

/// Waits for processes that were killed.
pub(crate) fn until_dead(processes: impl Fn() -> Vec<i32>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Some(pid) = processes().into_iter().find(|pid| is_alive(*pid)) {
        if deadline < Instant::now() {
            bail!("process {pid} survives SIGKILL");
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// `millstream cleanup`, wherever there was an agent.
fn clean_up(id: &LabId, cgroup: &Path) -> Result<()> {
    for (node, run_dir) in run_dirs(id) {
        let place = Place::open(&node, &namespace::path(&id.netns(&node)), &cgroup.join(&node))?;
        let cleanup = [agent::millstream()?, "cleanup".into(), "--run-dir".into(), run_dir];
        place.run_for(PATIENCE, &cleanup)?.stdout()?;
    }
    Ok(())
}

/// Nodes in whose run directory an agent has left something.
fn run_dirs(id: &LabId) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(id.dir()).into_iter().flatten().flatten();
    let nodes = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let run_dirs = nodes.map(|node| (id.run_dir(&node), node));
    let used = run_dirs.filter(|(dir, _)| fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some()));
    used.map(|(dir, node)| (node, dir)).collect()
}

fn namespaces(id: &LabId) -> Vec<PathBuf> {
    namespace::list(&id.netns(""))
}

/// Its own in every hierarchy, and those that its agents made for themselves and had no time to remove.
fn cgroups(id: &LabId) -> Vec<PathBuf> {
    let own = id.cgroups().unwrap_or_default();
    let root = cgroup::root().ok();
    let agents = root.iter().flat_map(|root| starting_with(root, &format!("millstream-{}", id.node(""))));
    own.into_iter().chain(agents).filter(|path| path.exists()).collect()
}

fn pins(id: &LabId) -> Vec<PathBuf> {
    starting_with(Path::new(PINS), &id.node(""))
}

fn starting_with(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    ours.map(|entry| entry.path()).collect()
}

/// Tries them all before it tells of a failure.
fn remove_all(paths: &[PathBuf], remove: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let removed: Vec<_> = paths.iter().map(|path| remove(path)).collect();
    removed.into_iter().collect()
}

fn remove_tree(path: &Path) -> Result<()> {
    gone(path, fs::remove_dir_all(path))
}

fn remove_file(path: &Path) -> Result<()> {
    gone(path, fs::remove_file(path))
}

fn gone(path: &Path, removed: io::Result<()>) -> Result<()> {
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(crate) fn all_processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Not gone, and not only waiting to be waited for.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command's name may hold anything; the state stands behind its closing parenthesis.
    let has_state = stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']));
    has_state && !is_last_of_its_own(pid)
}

/// The first process of a PID namespace that has ended, but for waiting until the others are waited for. That may be our
/// part, later.
fn is_last_of_its_own(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let is_first = pids.split_whitespace().skip(1).last() == Some("1");
    is_first && fs::read_link(format!("/proc/{pid}/ns/net")).is_err()
}

/// A process that has ended but was not yet waited for has no namespace.
fn runs_in(pid: i32, inodes: &BTreeSet<u64>) -> bool {
    let Ok(link) = fs::read_link(format!("/proc/{pid}/ns/net")) else { return false };
    let link = link.to_string_lossy();
    let inode = link.strip_prefix("net:[").and_then(|rest| rest.strip_suffix(']'));
    inode.and_then(|inode| inode.parse().ok()).is_some_and(|inode| inodes.contains(&inode))
}
