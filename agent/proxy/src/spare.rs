//! Files that are kept open for the time when no other can be.
//!
//! Without a descriptor a connection cannot be accepted, hence not be reset either, and its client would wait. So a
//! spare one is given up for it, and taken back when it has been reset. Another thread may be quicker and have its
//! number in between, so there are several.

use std::{
    fs::File,
    io,
    net::SocketAddr,
    os::fd::AsFd,
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
    files: Mutex<Vec<File>>,
    /// Some are missing: so that the end of a connection need not ask for the lock.
    is_short: AtomicBool,
}

/// More than there are threads that could be quicker.
const FILES: usize = 16;

// === impl Spare ===

impl Spare {
    pub(crate) fn new() -> Self {
        let spare = Self { files: Mutex::default(), is_short: true.into() };
        spare.regain();
        spare
    }

    /// Takes back what others had in between: to be called when descriptors were closed.
    pub(crate) fn regain(&self) {
        if self.is_short.load(Ordering::Relaxed) {
            self.fill(&mut lock(&self.files));
        }
    }

    /// Accepts one connection, which `f` must drop. `WouldBlock`: nobody waits.
    pub(crate) fn accept<T>(
        &self,
        listener: &impl AsFd,
        f: impl FnOnce(Socket, SocketAddr) -> T,
    ) -> io::Result<T> {
        let mut spare = lock(&self.files);
        let accepted = loop {
            let given_up = spare.pop();
            let is_last = given_up.is_none();
            drop(given_up);
            match accept(listener) {
                Err(error) if is_out_of_descriptors(&error) && !is_last => {}
                accepted => break accepted,
            }
        };
        let result = accepted.map(|(socket, client)| f(socket, client));
        self.fill(&mut spare);
        result
    }

    fn fill(&self, spare: &mut Vec<File>) {
        while spare.len() < FILES {
            match open() {
                Ok(file) => spare.push(file),
                Err(_) => break,
            }
        }
        self.is_short.store(spare.len() < FILES, Ordering::Relaxed);
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
