//! The plugin onto a node, and off again. Blocking; to be repeated whenever something may have changed.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use crate::{
    conflist::{self, Form},
    entry::{Entry, TYPE},
    file::{self, Guise},
    sentence,
};

mod primary;
mod remove;

use self::primary::{Found, Primary};
pub use self::remove::{entry_in, remove};

/// Our own conflist, where we write one: before any other name in use.
pub const OWN_CONFLIST: &str = "00-millstream.conflist";

/// What a `.conf` is renamed to while a `.conflist` stands in its place. No runtime reads it.
const SAVED: &str = ".millstream-saved";

/// A file that others write is read again so often, when they did it under our hands.
const TRIES: usize = 3;

/// What is to be where.
#[derive(Clone, Debug)]
pub struct Install {
    /// The plugin's binary, to be copied.
    pub plugin: PathBuf,
    /// Where the runtime looks for plugins: `/opt/cni/bin`, mostly.
    pub bin_dir: PathBuf,
    /// Where the runtime looks for its chain: `/etc/cni/net.d`, mostly.
    pub conf_dir: PathBuf,
    pub entry: Entry,
    /// Leaves the primary's file alone: a chain of our own, made from it, comes first.
    pub own_conflist: bool,
}

/// What an [`Install::install`] found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub state: State,
    /// Left alone, and not read by a runtime either.
    pub malformed: Vec<Malformed>,
    /// Whether anything had to be written.
    pub changed: bool,
    /// The types of the other plugins in the chain.
    pub others: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Installed {
        file: PathBuf,
    },
    /// No chain is there yet to be joined.
    Waiting {
        dir: PathBuf,
    },
    Failed {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub file: PathBuf,
    pub problem: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {op} {}{}", path.display(), hint(source))]
    Io { op: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{} is a link to {}, which cannot be reached (mount what it points to at the same path)",
        link.display(),
        target.display()
    )]
    Unreachable { link: PathBuf, target: PathBuf, source: io::Error },
    #[error("{}", file.display())]
    Conflist { file: PathBuf, source: conflist::Error },
    #[error(
        "{} is to become {}, which is there and says something else: remove the one that is not needed",
        conf.display(),
        conflist.display()
    )]
    Both { conf: PathBuf, conflist: PathBuf },
    #[error("{} is written by somebody else at this moment", file.display())]
    Busy { file: PathBuf },
    #[error(
        "the runtime reads {} before {OWN_CONFLIST}: rename it, or install without a conflist of our own",
        primary.display()
    )]
    SortsFirst { primary: PathBuf },
}

// === impl Install ===

impl Install {
    /// Does what is missing, and nothing where nothing is.
    pub fn install(&self) -> Report {
        let mut report = Report {
            state: State::Waiting { dir: self.conf_dir.clone() },
            malformed: Vec::new(),
            changed: false,
            others: Vec::new(),
        };
        let mut result = self.try_install(&mut report);
        for _ in 0..TRIES {
            if !matches!(result, Err(Error::Busy { .. })) {
                break;
            }
            result = self.try_install(&mut report);
        }
        if let Err(error) = result {
            report.state = State::Failed { why: sentence(&error) };
        }
        report
    }

    fn try_install(&self, report: &mut Report) -> Result<(), Error> {
        let Found { primary, malformed } = Found::in_dir(&self.conf_dir)?;
        report.malformed = malformed;
        let Some(primary) = primary else {
            // Made from a primary that has gone: the node is as ready as it would be without us. What is malformed may
            // be half written, and is back in a moment.
            if report.malformed.is_empty() {
                report.changed = remove_file(&self.conf_dir.join(OWN_CONFLIST))?;
            }
            return Ok(());
        };
        report.others = conflist::types(&primary.list);
        // First: a chain that names a missing binary fails every pod of the node.
        report.changed |= self.copy_plugin()?;
        let file = if self.own_conflist {
            report.changed |= self.write_own(&primary)?;
            self.conf_dir.join(OWN_CONFLIST)
        } else {
            let (file, changed) = self.join(&primary)?;
            report.changed |= changed;
            // Of a time when it was wanted.
            report.changed |= remove_file(&self.conf_dir.join(OWN_CONFLIST))?;
            file
        };
        report.state = State::Installed { file };
        Ok(())
    }

    fn copy_plugin(&self) -> Result<bool, Error> {
        let plugin = fs::read(&self.plugin).map_err(io_error("read the plugin", &self.plugin))?;
        let path = self.bin_dir.join(TYPE);
        let is = fs::metadata(&path).ok().map(|is| Guise::of(&is).mode);
        if is == Some(0o755) && fs::read(&path).is_ok_and(|there| there == plugin) {
            return Ok(false);
        }
        write(&path, &plugin, Guise { mode: 0o755, owner: None })?;
        Ok(true)
    }

    /// Our entry into the primary's own file. That file, and whether it had to be written.
    fn join(&self, primary: &Primary) -> Result<(PathBuf, bool), Error> {
        let wanted = self.with_entry(primary)?;
        match primary.form {
            Form::List if wanted == primary.list => Ok((primary.path.clone(), false)),
            Form::List => {
                let was = primary.list.as_bytes();
                let replaced =
                    file::replace_unchanged(&primary.target, was, wanted.as_bytes(), primary.guise);
                match replaced.map_err(io_error("write", &primary.target))? {
                    true => Ok((primary.path.clone(), true)),
                    false => Err(Error::Busy { file: primary.path.clone() }),
                }
            }
            Form::Single => Ok((convert(primary, &wanted)?, true)),
        }
    }

    /// It keeps the primary's name: under that name the plugins before us remember what they gave to whom.
    fn write_own(&self, primary: &Primary) -> Result<bool, Error> {
        let own = self.conf_dir.join(OWN_CONFLIST);
        if primary.path < own {
            return Err(Error::SortsFirst { primary: primary.path.clone() });
        }
        let wanted = self.with_entry(primary)?;
        let changed = !fs::read(&own).is_ok_and(|there| there == wanted.as_bytes());
        if changed {
            write(&own, wanted.as_bytes(), primary.guise)?;
        }
        // Of a time when we had joined it.
        Ok(changed | remove::leave(&self.conf_dir, Some(&own))?)
    }

    fn with_entry(&self, primary: &Primary) -> Result<String, Error> {
        conflist::with_entry(&primary.list, &self.entry)
            .map_err(|source| Error::Conflist { file: primary.path.clone(), source })
    }
}

/// A `.conf` cannot hold two plugins: a conflist takes its place, and it waits aside.
fn convert(primary: &Primary, wanted: &str) -> Result<PathBuf, Error> {
    let conflist = primary.path.with_extension("conflist");
    let saved = saved_name(&primary.path);
    if let Ok(there) = fs::read_to_string(&conflist)
        && !is_made_of(&there, &primary.path)
        && !is_made_of(&there, &saved)
    {
        return Err(Error::Both { conf: primary.path.clone(), conflist });
    }
    write(&conflist, wanted.as_bytes(), primary.guise)?;
    // Until now the runtime read the `.conf`, which sorts first: at no time is there none.
    rename(&primary.path, &saved)?;
    Ok(conflist)
}

/// Whether this conflist, but for our entry, is what the single plugin in `conf` becomes.
fn is_made_of(conflist: &str, conf: &Path) -> bool {
    let list = fs::read_to_string(conf).ok().and_then(|conf| conflist::as_list(&conf, Form::Single).ok());
    list.is_some() && conflist::without_entry(conflist).ok() == list
}

fn saved_name(conf: &Path) -> PathBuf {
    let mut name = conf.as_os_str().to_owned();
    name.push(SAVED);
    PathBuf::from(name)
}

fn write(path: &Path, bytes: &[u8], guise: Guise) -> Result<(), Error> {
    file::replace(path, bytes, guise).map_err(io_error("write", path))
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).and_then(|()| file::sync_folder(to)).map_err(io_error("rename", from))
}

/// Whether it was there.
fn remove_file(path: &Path) -> Result<bool, Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Io { op: "remove", path: path.to_owned(), source }),
    }
}

fn io_error(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { op, path: path.to_owned(), source }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            " (the agent must be able to write there: a hostPath that is not readOnly, SELinux; or the directories of \
             this distribution are others: cni.confDir, cni.binDir)"
        }
        io::ErrorKind::NotFound => {
            " (the directories of this distribution may be others: cni.confDir, cni.binDir)"
        }
        _ => "",
    }
}

// === impl State ===

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installed { file } => write!(f, "the CNI plugin is in the chain of {}", file.display()),
            Self::Waiting { dir } => write!(
                f,
                "waiting for a CNI configuration in {}: the cluster's network plugin is not installed yet, or its \
                 directory is another (cni.confDir)",
                dir.display()
            ),
            Self::Failed { why } => write!(f, "the CNI plugin is not installed: {why}"),
        }
    }
}

// === impl Malformed ===

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}, and is left alone", self.file.display(), self.problem)
    }
}

#[cfg(test)]
mod tests;
