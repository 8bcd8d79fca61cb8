//! The initramfs: files of this machine under the same names, and what they need.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use cpio::newc::{Builder, ModeFileType, trailer};

use crate::{setup, shell};

pub(super) struct Image {
    entries: BTreeMap<PathBuf, Entry>,
    /// For what is changed on its way into the image.
    scratch: PathBuf,
}

enum Entry {
    Dir,
    File(PathBuf),
    Bytes(Vec<u8>),
    Link(PathBuf),
}

/// Debian has had these in /usr since 12.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// Names of users, protocols, ports and routing tables.
const CONFIGURATION: [&str; 6] =
    ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/protocols", "/etc/services", "/etc/iproute2"];

// === impl Image ===

impl Image {
    pub(super) fn new(scratch: &Path) -> Result<Self> {
        let mut image = Self { entries: BTreeMap::new(), scratch: scratch.to_owned() };
        for name in MERGED {
            image.link(Path::new("/").join(name), Path::new("usr").join(name));
        }
        image.dir("/root");
        image.dir("/tmp");
        for path in CONFIGURATION.map(Path::new).into_iter().filter(|path| path.exists()) {
            image.tree_at(path, path)?;
        }
        Ok(image)
    }

    /// A program that we have built, and its libraries; without what only a debugger would read.
    pub(super) fn built(&mut self, at: impl AsRef<Path>, program: &Path) -> Result<()> {
        let name = program.file_name().unwrap_or_default();
        let stripped = self.scratch.join(name);
        shell::quietly(Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(program))?;
        self.file(at.as_ref(), &stripped);
        self.libraries_of(program)
    }

    /// A program of this machine, if it has it.
    pub(super) fn program(&mut self, name: &str) -> Result<()> {
        let Some(path) = setup::find_program(name) else { return Ok(()) };
        self.host_file(&path)?;
        self.libraries_of(&path)
    }

    /// Kernel modules: their index, and those in these folders of theirs.
    pub(super) fn tree(&mut self, modules: &Path, folders: &[&str]) -> Result<()> {
        let at = Path::new("/usr/lib/modules").join(modules.file_name().unwrap_or_default());
        for entry in read_dir(modules)?.into_iter().filter(|path| path.is_file()) {
            self.file(&at.join(entry.file_name().unwrap_or_default()), &entry);
        }
        for folder in folders.iter().filter(|folder| modules.join(folder).exists()) {
            self.tree_at(&at.join(folder), &modules.join(folder))?;
        }
        Ok(())
    }

    pub(super) fn link(&mut self, at: impl AsRef<Path>, target: impl Into<PathBuf>) {
        self.add(at.as_ref(), Entry::Link(target.into()));
    }

    pub(super) fn bytes(&mut self, at: &str, bytes: Vec<u8>) {
        self.add(Path::new(at), Entry::Bytes(bytes));
    }

    pub(super) fn write(&self, to: &Path) -> Result<()> {
        let archive = || {
            let mut archive = BufWriter::new(File::create(to)?);
            for (inode, (path, entry)) in self.entries.iter().enumerate() {
                let inode = u32::try_from(inode).map_err(io::Error::other)?;
                archive = entry.write(path, inode, archive)?;
            }
            trailer(archive)?.flush()
        };
        archive().with_context(|| format!("write {}", to.display()))
    }

    fn libraries_of(&mut self, program: &Path) -> Result<()> {
        // Its failure means that the program is static.
        let list = shell::output(Command::new("ldd").arg(program)).unwrap_or_default();
        for library in list.split_whitespace().filter(|word| word.starts_with('/')) {
            self.host_file(Path::new(library))?;
        }
        ensure!(!list.contains("not found"), "{} lacks a library: {list}", program.display());
        Ok(())
    }

    /// Under its own name; a link becomes what it leads to.
    fn host_file(&mut self, path: &Path) -> Result<()> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        let dir = dir.canonicalize().with_context(|| format!("{}", dir.display()))?;
        let file = path.canonicalize().with_context(|| format!("{}", path.display()))?;
        self.file(&dir.join(path.file_name().unwrap_or_default()), &file);
        Ok(())
    }

    fn tree_at(&mut self, at: &Path, path: &Path) -> Result<()> {
        if path.is_file() {
            self.file(at, path);
            return Ok(());
        }
        self.dir(at);
        for entry in read_dir(path)? {
            self.tree_at(&at.join(entry.file_name().unwrap_or_default()), &entry)?;
        }
        Ok(())
    }

    fn dir(&mut self, at: impl AsRef<Path>) {
        self.add(at.as_ref(), Entry::Dir);
    }

    fn file(&mut self, at: &Path, path: &Path) {
        self.add(at, Entry::File(path.to_owned()));
    }

    fn add(&mut self, at: &Path, entry: Entry) {
        for dir in at.ancestors().skip(1).filter(|dir| dir.parent().is_some()) {
            self.entries.entry(dir.to_owned()).or_insert(Entry::Dir);
        }
        self.entries.insert(at.to_owned(), entry);
    }
}

fn read_dir(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    entries.with_context(|| format!("{}", dir.display()))
}

// === impl Entry ===

impl Entry {
    fn write<W: Write>(&self, at: &Path, inode: u32, archive: W) -> io::Result<W> {
        let name = at.strip_prefix("/").unwrap_or(at).to_string_lossy();
        let entry = Builder::new(&name).ino(inode).nlink(1);
        let with = |entry: Builder, kind, mode, bytes: &[u8]| {
            let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            let mut entry = entry.mode(mode).set_mode_file_type(kind).write(archive, size);
            entry.write_all(bytes)?;
            entry.finish()
        };
        match self {
            Self::Dir => with(entry, ModeFileType::Directory, 0o755, &[]),
            Self::Bytes(bytes) => with(entry, ModeFileType::Regular, 0o644, bytes),
            Self::Link(target) => {
                with(entry, ModeFileType::Symlink, 0o777, target.to_string_lossy().as_bytes())
            }
            Self::File(path) => {
                let mode = fs::metadata(path)?.permissions().mode() & 0o7777;
                with(entry, ModeFileType::Regular, mode, &fs::read(path)?)
            }
        }
    }
}
