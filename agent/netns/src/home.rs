//! The namespace that a thread returns to.

use std::{
    cell::Cell,
    fs::File,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::OnceLock,
};

use nix::sys::stat::fstat;

use crate::{Error, call};

/// Where the calling thread was when it left for another namespace; it is away until this is dropped.
#[derive(Debug)]
pub(crate) struct Home {
    /// `None` where it was in [`HOME`].
    other: Option<File>,
    before: Whereabouts,
}

/// What is known of a thread.
#[derive(Clone, Copy, Debug)]
enum Whereabouts {
    Unknown,
    AtHome,
    Away,
}

/// Where the threads of this process are that have entered nothing: the namespace of the first that came here. It is
/// opened once, for that takes longer than to make a socket in another namespace.
static HOME: OnceLock<File> = OnceLock::new();

thread_local! {
    static WHEREABOUTS: Cell<Whereabouts> = const { Cell::new(Whereabouts::Unknown) };
}

// === impl Home ===

impl Home {
    pub(crate) fn leave() -> Result<Self, Error> {
        let home = match WHEREABOUTS.get() {
            Whereabouts::AtHome => Self { other: None, before: Whereabouts::AtHome },
            Whereabouts::Unknown => Self::look()?,
            Whereabouts::Away => Self { other: Some(open()?), before: Whereabouts::Away },
        };
        WHEREABOUTS.set(Whereabouts::Away);
        Ok(home)
    }

    /// Finds out whether this thread is where the others are.
    fn look() -> Result<Self, Error> {
        let inode = |file: &File| fstat(file).map(|s| (s.st_dev, s.st_ino)).map_err(call("stat"));
        let here = open()?;
        let here_inode = inode(&here)?;
        // Given back where another thread has come first.
        if let Some(here) = HOME.set(here).err()
            && HOME.get().map(inode).transpose()? != Some(here_inode)
        {
            return Ok(Self { other: Some(here), before: Whereabouts::Unknown });
        }
        Ok(Self { other: None, before: Whereabouts::AtHome })
    }
}

impl AsFd for Home {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.other.as_ref().or(HOME.get()) {
            Some(file) => file.as_fd(),
            // It is set before a `Home` without a file of its own is made.
            None => std::process::abort(),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        WHEREABOUTS.set(self.before);
    }
}

fn open() -> Result<File, Error> {
    let path = Path::new("/proc/thread-self/ns/net");
    File::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })
}
