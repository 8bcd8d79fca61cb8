//! Which file is the node's chain: the first by name that can be one, as the runtimes choose.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Error, Malformed, OWN_CONFLIST, io_error};
use crate::{
    conflist::{self, Form},
    file::Guise,
    sentence,
};

/// The primary plugin's configuration.
pub(super) struct Primary {
    pub(super) path: PathBuf,
    /// The same, or where the link leads.
    pub(super) target: PathBuf,
    pub(super) form: Form,
    pub(super) guise: Guise,
    /// What it says, as a chain.
    pub(super) list: String,
}

pub(super) struct Found {
    pub(super) primary: Option<Primary>,
    pub(super) malformed: Vec<Malformed>,
}

// === impl Found ===

impl Found {
    /// Our own conflist does not count.
    pub(super) fn in_dir(dir: &Path) -> Result<Self, Error> {
        let mut malformed = Vec::new();
        for (path, form) in listing(dir)? {
            if path.file_name().is_some_and(|name| name == OWN_CONFLIST) {
                continue;
            }
            let Some((target, guise, bytes)) = read(&path)? else {
                continue;
            };
            match String::from_utf8(bytes)
                .map_err(|_| "is not UTF-8".to_owned())
                .and_then(|text| conflist::as_list(&text, form).map_err(|error| sentence(&error)))
            {
                Ok(list) => {
                    return Ok(Self {
                        primary: Some(Primary { path, target, form, guise, list }),
                        malformed,
                    });
                }
                Err(problem) => malformed.push(Malformed { file: path, problem }),
            }
        }
        Ok(Self { primary: None, malformed })
    }
}

/// What a runtime would look at, in its order. A directory that is not there yet is empty.
pub(super) fn listing(dir: &Path) -> Result<Vec<(PathBuf, Form)>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error("read the directory", dir))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(io_error("read the directory", dir))?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if let Some(form) = extension.and_then(Form::of_extension)
            && !path.is_dir()
        {
            files.push((path, form));
        }
    }
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(files)
}

/// `None` if it has gone since it was listed.
///
/// One that cannot be read is not passed over: the runtime can perhaps, and then it is the chain.
pub(super) fn read(path: &Path) -> Result<Option<(PathBuf, Guise, Vec<u8>)>, Error> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(source) => {
            return match fs::read_link(path) {
                Ok(target) => Err(Error::Unreachable { link: path.to_owned(), target, source }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(_no_link) => Err(Error::Io { op: "read", path: path.to_owned(), source }),
            };
        }
    };
    let read = || io::Result::Ok((Guise::of(&fs::metadata(&target)?), fs::read(&target)?));
    match read() {
        Ok((guise, bytes)) => Ok(Some((target, guise, bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { op: "read", path: path.to_owned(), source }),
    }
}
