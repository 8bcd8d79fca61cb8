//! Network namespaces: found, verified, entered on a thread and always left again.
//!
//! A [`Netns`] is an open descriptor, so the namespace it names cannot be swapped for another behind our
//! back. [`Netns::enter`] moves the calling *thread*; the guard it returns moves it back when dropped. Whoever moves
//! threads by other means must not let them come here.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    libc,
    sched::{CloneFlags, setns, unshare},
    sys::{
        socket::{AddressFamily, SockFlag, SockType, socket},
        stat::{Mode, fstat},
        statfs::fstatfs,
    },
};

use crate::home::Home;

mod home;
pub mod search;

nix::ioctl_none_bad!(
    /// `NS_GET_NSTYPE`, Linux 4.11 (ioctl_nsfs(2)).
    ns_get_nstype,
    nix::request_code_none!(0xb7, 0x3)
);

/// An open network namespace.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    cookie: u64,
    inode: u64,
}

/// The calling thread is in another network namespace until this is dropped.
#[derive(Debug)]
#[must_use = "the thread returns as soon as this is dropped"]
pub struct Entered {
    home: Home,
    /// Not `Send`: what was entered on one thread must be left on the same.
    _thread: PhantomData<*const ()>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is not a network namespace", path.display())]
    NotNetns { path: PathBuf },
    #[error("cannot {op} a network namespace; CAP_SYS_ADMIN may be missing")]
    Call { op: &'static str, source: io::Error },
}

// === impl Netns ===

impl Netns {
    /// Opens the namespace at `path`: a bind mount under `/run/netns`, or `/proc/PID/ns/net`.
    ///
    /// The file is looked at before it is opened for real, so a FIFO or a device there does no harm.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let not_netns = || Error::NotNetns { path: path.to_owned() };
        let failed = |e: Errno| Error::Open { path: path.to_owned(), source: e.into() };

        let place = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed)?;
        if fstatfs(&place).map_err(failed)?.filesystem_type() != nix::sys::statfs::NSFS_MAGIC {
            return Err(not_netns());
        }
        let proc = format!("/proc/self/fd/{}", place.as_raw_fd());
        let fd = open(Path::new(&proc), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed)?;
        // SAFETY: the request takes no argument and `fd` is open.
        let kind = unsafe { ns_get_nstype(fd.as_raw_fd()) }.map_err(failed)?;
        if kind != libc::CLONE_NEWNET {
            return Err(not_netns());
        }
        Self::from_fd(fd)
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, Error> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// A new, empty namespace. Only descriptors hold it: it goes when the last is closed.
    pub fn create() -> Result<Self, Error> {
        // A thread of its own, so that the caller's namespace never changes.
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(call("create"))?;
            Self::current()
        })
    }

    fn from_fd(fd: OwnedFd) -> Result<Self, Error> {
        let inode = fstat(&fd).map_err(call("stat"))?.st_ino;
        let cookie = on_thread(|| {
            setns(&fd, CloneFlags::CLONE_NEWNET).map_err(call("enter"))?;
            // A unix socket: it needs no protocol that the kernel or the namespace may lack.
            let probe = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
                .map_err(call("open a socket in"))?;
            cookie_of(&probe).map_err(call("read the cookie of"))
        })?;
        Ok(Self { fd, cookie, inode })
    }

    /// `SO_NETNS_COOKIE`: unique while the machine runs.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// The inode number that `/proc/PID/ns/net` shows. The kernel uses it again after the namespace is gone.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Another handle to the same namespace.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let fd = self.fd.try_clone().map_err(|source| Error::Call { op: "duplicate", source })?;
        Ok(Self { fd, ..*self })
    }

    /// Moves the calling thread into this namespace until the guard is dropped. Do not hold the guard over
    /// an `.await`.
    pub fn enter(&self) -> Result<Entered, Error> {
        let home = Home::leave()?;
        setns(&self.fd, CloneFlags::CLONE_NEWNET).map_err(call("enter"))?;
        Ok(Entered { home, _thread: PhantomData })
    }

    /// Runs `f` inside this namespace.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> Result<T, Error> {
        let _entered = self.enter()?;
        Ok(f())
    }
}

impl PartialEq for Netns {
    fn eq(&self, other: &Self) -> bool {
        self.cookie == other.cookie
    }
}

impl Eq for Netns {}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

// === impl Entered ===

impl Drop for Entered {
    fn drop(&mut self) {
        if setns(&self.home, CloneFlags::CLONE_NEWNET).is_err() {
            // Going on would do the agent's work inside a pod's network: there is no safe way but out.
            std::process::abort();
        }
    }
}

/// `SO_NETNS_COOKIE`, Linux 5.14.
fn cookie_of(socket: &OwnedFd) -> nix::Result<u64> {
    let mut cookie = 0_u64;
    let mut length: libc::socklen_t = 8;
    // SAFETY: both pointers are to locals, and `length` is the size of `cookie`.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    Errno::result(done).map(|_| cookie)
}

fn call(op: &'static str) -> impl Fn(Errno) -> Error {
    move |e| Error::Call { op, source: e.into() }
}

fn on_thread<T: Send>(f: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| match scope.spawn(f).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests;
