//! cgroup v2: one group per pod and per agent, as on a real node.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Where hierarchies are mounted, of either version.
pub(crate) fn hierarchies() -> Result<Vec<PathBuf>> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(find(&mountinfo, &["cgroup2", "cgroup"]).collect())
}

/// Where cgroup v2 is mounted: not always at /sys/fs/cgroup, which may hold the controllers of v1.
pub fn root() -> Result<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    find_root(&mountinfo).context("cgroup v2 is not mounted")
}

fn find_root(mountinfo: &str) -> Option<PathBuf> {
    find(mountinfo, &["cgroup2"]).next()
}

/// Where file systems of these kinds are mounted.
fn find(mountinfo: &str, kinds: &[&str]) -> impl Iterator<Item = PathBuf> {
    mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let kind = filesystem.split(' ').next()?;
        kinds.contains(&kind).then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

pub(crate) fn create(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make the cgroup {}", path.display()))
}

/// Kills every process in the group and below, without exception.
pub(crate) fn kill(path: &Path) -> Result<()> {
    let file = path.join("cgroup.kill");
    match fs::write(&file, "1") {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot write {}", file.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes the group and those below, waiting for their last processes to be gone.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let children = match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    for child in children {
        remove(&child)?;
    }
    // Killed processes leave a moment later, and the kernel reports that nowhere that can be waited on
    // for a whole tree.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match fs::remove_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => bail!("cannot remove the cgroup {}: {e}", path.display()),
            Ok(()) => return Ok(()),
        }
    }
}

/// The processes in the group and below.
pub(crate) fn processes(path: &Path) -> Vec<i32> {
    let own = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<i32> = own.lines().filter_map(|pid| pid.parse().ok()).collect();
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(processes(&entry.path()));
        }
    }
    found
}

#[cfg(test)]
mod tests;
