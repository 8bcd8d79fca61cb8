//! Writes a file so that whoever reads it sees the old one or the new one, whole, whenever the power goes.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

/// What a file is beside what it says.
#[derive(Clone, Copy, Debug)]
pub struct Guise {
    pub mode: u32,
    /// User and group; `None`: our own.
    pub owner: Option<(u32, u32)>,
}

/// No container runtime reads a name that ends like this.
const NEW: &str = ".millstream-new";

// === impl Guise ===

impl Guise {
    pub fn of(metadata: &fs::Metadata) -> Self {
        Self { mode: metadata.mode() & 0o7777, owner: Some((metadata.uid(), metadata.gid())) }
    }
}

/// Puts `bytes` at `path`, in place of what is there.
pub fn replace(path: &Path, bytes: &[u8], guise: Guise) -> io::Result<()> {
    replace_if(path, bytes, guise, || true).map(drop)
}

/// The same, unless somebody has written something else there than `was`: that must not be lost.
pub(crate) fn replace_unchanged(path: &Path, was: &[u8], bytes: &[u8], guise: Guise) -> io::Result<bool> {
    // Asked last of all, for the disk takes its time with what is before. A moment remains in which we would not know.
    replace_if(path, bytes, guise, || fs::read(path).is_ok_and(|is| is == was))
}

fn replace_if(path: &Path, bytes: &[u8], guise: Guise, so: impl FnOnce() -> bool) -> io::Result<bool> {
    let new = new_name(path)?;
    let replaced = write_new(&new, bytes, guise)
        .and_then(|()| if so() { fs::rename(&new, path).map(|()| true) } else { Ok(false) });
    if let Ok(true) = replaced {
        sync_folder(path)?;
    } else {
        // What cannot be removed is overwritten next time.
        let _ = fs::remove_file(&new);
    }
    replaced
}

/// Makes a rename or a removal in the folder of `path` last.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// What was left by an agent that died while it wrote.
pub(crate) fn is_left_over(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(NEW)
}

fn new_name(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    let mut new = OsString::from(".");
    new.push(name);
    new.push(NEW);
    Ok(path.with_file_name(new))
}

fn write_new(new: &Path, bytes: &[u8], guise: Guise) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    let is = file.metadata()?;
    if let Some((uid, gid)) = guise.owner
        && (uid, gid) != (is.uid(), is.gid())
    {
        fchown(&file, Some(uid), Some(gid))?;
    }
    // After the owner, for a change of owner clears bits; explicitly, for the umask did too.
    file.set_permissions(Permissions::from_mode(guise.mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_has_written_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let guise = Guise { mode: 0o640, owner: None };
        for (was, is, replaced) in [("old", "old", true), ("old", "theirs", false)] {
            fs::write(&path, is).unwrap();
            assert_eq!(replace_unchanged(&path, was.as_bytes(), b"new", guise).unwrap(), replaced);
            assert_eq!(fs::read_to_string(&path).unwrap(), if replaced { "new" } else { is });
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside it");
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    }
}
