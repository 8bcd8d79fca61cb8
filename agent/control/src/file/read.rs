//! Reads the files of a folder, and says of each that cannot be read why.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use crate::printable::printable;

/// More than any manifest, and little enough for a node.
const FILE_MAX: u64 = 32 * 1024 * 1024;
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourceFile {
    pub(super) name: String,
    /// Or why there is none.
    pub(super) text: Result<String, String>,
}

/// The manifests that stand directly in `dir`, by name. Symbolic links are followed: in a mounted ConfigMap every
/// file is one. Names with a leading dot are left to editors and the kubelet.
pub(super) fn folder(dir: &Path) -> io::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = printable(path.file_name().unwrap_or_default().to_string_lossy());
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if name.starts_with('.') || !EXTENSIONS.contains(&extension) {
            continue;
        }
        match text(&path) {
            Ok(Some(text)) => files.push(SourceFile { name, text }),
            Ok(None) => {}
            Err(error) => files.push(SourceFile { name, text: Err(error.to_string()) }),
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// `None`: there is no such file, or it is a folder.
pub(super) fn text(path: &Path) -> io::Result<Option<Result<String, String>>> {
    let metadata = match fs::metadata(path) {
        // Removed since the folder was listed; but a link that leads nowhere is an error.
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => return Ok(None),
        metadata => metadata?,
    };
    if metadata.is_dir() {
        return Ok(None);
    }
    // To open a FIFO would block, and a device may have no end.
    if !metadata.is_file() {
        return Ok(Some(Err("is not a regular file".to_owned())));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| FILE_MAX < length) {
        return Ok(Some(Err(format!("is larger than {} MiB", FILE_MAX >> 20))));
    }
    Ok(Some(
        String::from_utf8(bytes).map_err(|e| {
            format!("is not UTF-8: a wrong byte after the first {}", e.utf8_error().valid_up_to())
        }),
    ))
}
