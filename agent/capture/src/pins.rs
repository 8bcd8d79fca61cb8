//! Where things are pinned: one directory per node under bpffs.
//!
//! ```text
//! /sys/fs/bpf/millstream/NODE/v3/PODS …          maps, under the version of their layout
//! /sys/fs/bpf/millstream/NODE/links/connect4 …   links of the node
//! /sys/fs/bpf/millstream/NODE/links/steer-COOKIE links of the pods, by SO_NETNS_COOKIE
//! /sys/fs/bpf/millstream/NODE/links/guard-COOKIE-IFINDEX
//! ```

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::Error;

/// Where bpffs is mounted on every distribution.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
}

// === impl Pins ===

impl Pins {
    pub fn of_node(node: &str) -> Self {
        Self { root: Path::new(BPFFS).join("millstream").join(node) }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn maps(&self) -> PathBuf {
        self.root.join(format!("v{}", abi::VERSION))
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    pub(crate) fn connect_link(&self, program: &str) -> PathBuf {
        self.links().join(program)
    }

    pub(crate) fn steer_link(&self, netns_cookie: u64) -> PathBuf {
        self.links().join(format!("steer-{netns_cookie:x}"))
    }

    pub(crate) fn guard_link(&self, netns_cookie: u64, ifindex: u32) -> PathBuf {
        self.links().join(format!("guard-{netns_cookie:x}-{ifindex}"))
    }

    /// The interfaces of this namespace that have a pinned `guard` link.
    pub fn guarded(&self, netns_cookie: u64) -> Vec<u32> {
        let prefix = format!("guard-{netns_cookie:x}-");
        self.link_names().filter_map(|name| name.strip_prefix(&prefix)?.parse().ok()).collect()
    }

    /// A `steer` link is pinned for this namespace.
    pub fn is_steered(&self, netns_cookie: u64) -> bool {
        self.steer_link(netns_cookie).exists()
    }

    /// The namespaces that have a pinned link.
    pub(crate) fn namespaces(&self) -> BTreeSet<u64> {
        let cookie = |name: String| {
            let of_steer = name.strip_prefix("steer-");
            let of_guard = || name.strip_prefix("guard-")?.split('-').next();
            u64::from_str_radix(of_steer.or_else(of_guard)?, 16).ok()
        };
        self.link_names().filter_map(cookie).collect()
    }

    fn link_names(&self) -> impl Iterator<Item = String> {
        let entries = fs::read_dir(self.links()).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    }

    pub(crate) fn create(&self) -> Result<(), Error> {
        for path in [self.maps(), self.links()] {
            fs::create_dir_all(&path).map_err(|source| Error::Pin { op: "create", path, source })?;
        }
        Ok(())
    }

    /// Maps whose layout is of another version: the programs that used them are replaced by now.
    pub(crate) fn remove_other_versions(&self) -> Result<(), Error> {
        let Ok(entries) = fs::read_dir(&self.root) else {
            return Ok(());
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path != self.maps() && path != self.links() {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }

    /// Removes every pin of the node: links without a pin are detached, maps without a user are freed.
    pub(crate) fn remove_all(&self) -> Result<(), Error> {
        remove_tree(&self.links())?;
        remove_tree(&self.root)?;
        // The last node that leaves takes the common directory along.
        if let Some(parent) = self.root.parent() {
            let _not_empty = fs::remove_dir(parent);
        }
        Ok(())
    }
}

pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    gone(fs::remove_file(path)).map_err(|source| Error::Pin { op: "remove", path: path.to_owned(), source })
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    gone(fs::remove_dir_all(path)).map_err(|source| Error::Pin {
        op: "remove",
        path: path.to_owned(),
        source,
    })
}

/// What was not there is gone as well.
pub(crate) fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
