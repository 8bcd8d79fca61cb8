//! The namespace that a thread returns to.

use std::{
    cell::{Cell, OnceCell},
    fs::File,
    io,
    path::Path,
    rc::Rc,
};

use crate::Error;

/// What a thread knows of its own way. To open the namespace it is in takes longer than to make a socket in another,
/// so that is done once.
#[derive(Debug)]
struct Way {
    home: OnceCell<Rc<File>>,
    away: Cell<bool>,
}

/// Where the thread was before it entered another namespace; away from there until this is dropped.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) file: Rc<File>,
    /// Not from a namespace that was itself entered.
    outermost: bool,
}

thread_local! {
    static WAY: Way = const { Way { home: OnceCell::new(), away: Cell::new(false) } };
}

// === impl Home ===

impl Home {
    /// Notes where the calling thread is, before it leaves.
    pub(crate) fn leave() -> Result<Self, Error> {
        WAY.with(|way| {
            if way.away.get() {
                return Ok(Self { file: Rc::new(open()?), outermost: false });
            }
            let file = match way.home.get() {
                Some(file) => Rc::clone(file),
                None => Rc::clone(way.home.get_or_init({
                    let file = Rc::new(open()?);
                    || file
                })),
            };
            way.away.set(true);
            Ok(Self { file, outermost: true })
        })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.outermost {
            // The thread is ending where this fails.
            let _ended = WAY.try_with(|way| way.away.set(false));
        }
    }
}

fn open() -> Result<File, Error> {
    let path = Path::new("/proc/thread-self/ns/net");
    File::open(path).map_err(|source: io::Error| Error::Open { path: path.to_owned(), source })
}
