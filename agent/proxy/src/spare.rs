//! A file that is kept open for the time when no other can be.
//!
//! Without a descriptor a connection cannot be accepted, hence not be reset either, and its client would wait. So
//! the spare one is given up for it, and taken back when it has been reset.

use std::{
    fs::File,
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::errno::Errno;
use socket2::{SockRef, Socket};

use crate::lock::lock;

#[derive(Debug)]
pub(crate) struct Spare {
    file: Mutex<Option<File>>,
    /// The number that it had first. The limit holds for numbers, and nothing has a lower one for long.
    place: Option<RawFd>,
    /// Whether somebody quicker has its place.
    displaced: AtomicBool,
}

// === impl Spare ===

impl Spare {
    pub(crate) fn new() -> Self {
        let file = open().ok();
        let place = file.as_ref().map(File::as_raw_fd);
        Self { displaced: file.is_none().into(), file: Mutex::new(file), place }
    }

    /// Takes it back as soon as that is possible: to be called when a descriptor was closed.
    pub(crate) fn regain(&self) {
        if self.displaced.load(Ordering::Relaxed) {
            let mut spare = lock(&self.file);
            let lower =
                open().ok().filter(|new| spare.as_ref().is_none_or(|old| new.as_raw_fd() < old.as_raw_fd()));
            *spare = lower.or(spare.take());
            self.settle(spare.as_ref());
        }
    }

    /// Accepts one connection, which `f` must drop. `WouldBlock`: nobody waits.
    pub(crate) fn accept<T>(
        &self,
        listener: &impl AsFd,
        f: impl FnOnce(Socket, SocketAddr) -> T,
    ) -> io::Result<T> {
        let mut spare = lock(&self.file);
        let given_up = spare.take().map_or_else(open, Ok)?;
        drop(given_up);
        let accepted = accept(listener).map(|(socket, client)| f(socket, client));
        *spare = open().ok();
        self.settle(spare.as_ref());
        accepted
    }

    fn settle(&self, spare: Option<&File>) {
        let place = spare.map(File::as_raw_fd);
        self.displaced.store(place.is_none() || self.place < place, Ordering::Relaxed);
    }
}

/// Whether the process, or the machine, may not open another file.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}

fn accept(listener: &impl AsFd) -> io::Result<(Socket, SocketAddr)> {
    let (socket, client) = SockRef::from(listener).accept()?;
    Ok((socket, client.as_socket().ok_or(io::ErrorKind::InvalidData)?))
}

fn open() -> io::Result<File> {
    File::open("/dev/null")
}
