//! Sockets of the run directory, for root alone.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result};
use tokio::net::UnixListener;

use crate::run_dir::remove_if_there;

/// Makes the socket, in place of the one of the agent before: at each moment there is one.
pub(crate) fn bind(path: &Path) -> Result<UnixListener> {
    let new = path.with_extension("new");
    remove_if_there(&new)?;
    let bind = || -> io::Result<_> {
        let listener = UnixListener::bind(&new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        fs::rename(&new, path)?;
        Ok(listener)
    };
    bind().with_context(|| format!("cannot listen at {}", path.display()))
}
