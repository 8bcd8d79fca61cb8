//! Off the node again: exactly what is ours.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Error, OWN_CONFLIST, SAVED, io_error, is_made_of,
    primary::{listing, read},
    remove_file, rename, write,
};
use crate::{
    conflist,
    entry::{Entry, TYPE},
    file, standing,
};

/// Takes our entry out of every file that has it, puts back what was set aside, and removes the plugin and what it goes
/// by while no agent runs. What is not there is no error.
///
/// # Errors
///
/// The first one, after everything else was tried. The plugin's binary stays then: a chain that still names it would
/// fail every pod of the node.
pub fn remove(conf_dir: &Path, bin_dir: &Path, state_dir: &Path) -> Result<(), Error> {
    let mut errors = Vec::new();
    let mut attempt = |result: Result<(), Error>| errors.extend(result.err());
    attempt(put_back(conf_dir));
    attempt(remove_file(&conf_dir.join(OWN_CONFLIST)).map(drop));
    attempt(leave(conf_dir, None).map(drop));
    attempt(remove_left_over(conf_dir));
    if let Some(first) = errors.into_iter().next() {
        return Err(first);
    }
    remove_file(&bin_dir.join(TYPE))?;
    remove_left_over(bin_dir)?;
    remove_file(&state_dir.join(standing::FILE))?;
    // Of a mount only what is in it can go.
    let _mounted_or_not_empty = fs::remove_dir(state_dir);
    Ok(())
}

/// What our entry in a chain of this folder says, if it is in one.
pub fn entry_in(conf_dir: &Path) -> Result<Option<Entry>, Error> {
    for (path, _) in listing(conf_dir)? {
        if let Ok(Some((_, _, bytes))) = read(&path)
            && let Some(entry) = str::from_utf8(&bytes).ok().and_then(conflist::entry)
        {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Takes our entry out of every conflist but one. What goes wrong with one file keeps nothing from the others.
pub(super) fn leave(conf_dir: &Path, but: Option<&Path>) -> Result<bool, Error> {
    let mut changed = false;
    let mut first_error = None;
    for (path, _) in listing(conf_dir)? {
        if Some(path.as_path()) == but {
            continue;
        }
        match leave_one(&path) {
            Ok(left) => changed |= left,
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(changed), Err)
}

/// Each `.conf` that was set aside, unless its owner has written another configuration since.
fn put_back(conf_dir: &Path) -> Result<(), Error> {
    for saved in names(conf_dir)?.into_iter().filter(|path| path.to_string_lossy().ends_with(SAVED)) {
        let conf = saved.with_extension("");
        let conflist = conf.with_extension("conflist");
        let made_of_it = fs::read_to_string(&conflist).is_ok_and(|list| is_made_of(&list, &saved));
        if made_of_it && !conf.exists() {
            // It sorts before the conflist: at no time is there none.
            rename(&saved, &conf)?;
        } else {
            remove_file(&saved)?;
        }
        if made_of_it {
            remove_file(&conflist)?;
        }
    }
    Ok(())
}

fn leave_one(path: &Path) -> Result<bool, Error> {
    let (target, guise, bytes) = match read(path) {
        Ok(Some(read)) => read,
        // Nor could it be reached to be joined.
        Ok(None) | Err(Error::Unreachable { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    let Some(text) = String::from_utf8(bytes).ok().filter(|text| conflist::has_entry(text)) else {
        return Ok(false);
    };
    // An agent that died between writing the conflist and setting the `.conf` aside.
    for conf in ["conf", "json"].map(|extension| path.with_extension(extension)) {
        if is_made_of(&text, &conf) {
            return remove_file(path);
        }
    }
    let without =
        conflist::without_entry(&text).map_err(|source| Error::Conflist { file: path.to_owned(), source })?;
    write(&target, without.as_bytes(), guise)?;
    Ok(true)
}

/// What an agent that died while it wrote has left.
fn remove_left_over(dir: &Path) -> Result<(), Error> {
    for path in names(dir)? {
        if path.file_name().is_some_and(|name| file::is_left_over(&name.to_string_lossy())) {
            remove_file(&path)?;
        }
    }
    Ok(())
}

/// Everything in a directory; nothing, where there is none.
fn names(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error("read the directory", dir))?,
    };
    entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(io_error("read the directory", dir)))
        .collect()
}
