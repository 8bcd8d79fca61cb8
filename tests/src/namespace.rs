//! Network namespaces that have a name: bind mounts under /run/netns, where `ip netns` finds them too.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use netns::Netns;
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};

pub(crate) const DIR: &str = "/run/netns";

pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// Makes a namespace and gives it a name.
pub(crate) fn create(name: &str) -> Result<Netns> {
    make_dir_shared()?;
    let path = path(name);
    let netns = Netns::create()?;
    File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let bound = netns.run(|| bind(Path::new("/proc/thread-self/ns/net"), &path));
    match bound? {
        Ok(()) => Ok(netns),
        Err(e) => {
            fs::remove_file(&path)?;
            Err(e).with_context(|| format!("cannot bind a network namespace to {}", path.display()))
        }
    }
}

/// Takes the name away. The namespace itself goes with its last process and descriptor.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        // EINVAL: the mount is already gone, only its file is left.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(e) => return Err(e).with_context(|| format!("cannot unmount {}", path.display())),
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The names that begin with `prefix`.
pub(crate) fn list(prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(DIR).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    ours.map(|entry| entry.path()).collect()
}

/// What `ip netns add` does first, so that both see each other's names in every mount namespace.
fn make_dir_shared() -> Result<()> {
    fs::create_dir_all(DIR).context(DIR)?;
    let dir = Path::new(DIR);
    match share(dir) {
        // Not a mount point yet.
        Err(Errno::EINVAL) => {
            bind(dir, dir).context(DIR)?;
            share(dir).context(DIR)
        }
        shared => shared.context(DIR),
    }
}

fn share(dir: &Path) -> nix::Result<()> {
    mount(None::<&Path>, dir, None::<&Path>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&Path>)
}

fn bind(from: &Path, to: &Path) -> nix::Result<()> {
    mount(Some(from), to, None::<&Path>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&Path>)
}
