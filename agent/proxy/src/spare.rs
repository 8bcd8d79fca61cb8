//! A file that is kept open for the time when no other can be.
//!
//! Without a descriptor a connection cannot be accepted, hence not be reset either, and its client would wait. So
//! the spare one is given up for it, and taken back when it has been reset.

use std::{fs::File, io, net::SocketAddr, os::fd::AsFd, sync::Mutex};

use nix::errno::Errno;
use socket2::{SockRef, Socket};

use crate::lock::lock;

#[derive(Debug)]
pub(crate) struct Spare(Mutex<Option<File>>);

// === impl Spare ===

impl Spare {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(open().ok()))
    }

    /// Takes it back, if somebody quicker had it when it was given up last.
    pub(crate) fn regain(&self) {
        let mut spare = lock(&self.0);
        if spare.is_none() {
            *spare = open().ok();
        }
    }

    /// Accepts one connection, which `f` must drop. `WouldBlock`: nobody waits.
    pub(crate) fn accept<T>(
        &self,
        listener: &impl AsFd,
        f: impl FnOnce(Socket, SocketAddr) -> T,
    ) -> io::Result<T> {
        let mut spare = lock(&self.0);
        let given_up = spare.take().map_or_else(open, Ok)?;
        drop(given_up);
        let accepted = accept(listener).map(|(socket, client)| f(socket, client));
        *spare = open().ok();
        accepted
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
