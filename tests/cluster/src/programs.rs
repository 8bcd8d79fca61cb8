//! The programs of Kubernetes: where `cargo xtask setup kubernetes` has left them.

use std::{env, ffi::OsString, path::PathBuf};

use anyhow::{Context, Result, ensure};

const VARIABLE: &str = "KUBERNETES_BIN";

/// The folder that has them all.
fn folder() -> Result<PathBuf> {
    let folder = env::var_os(VARIABLE).map(PathBuf::from).with_context(|| {
        format!("{VARIABLE} is not set: run this by `cargo xtask test kubernetes` or `cargo xtask cluster`")
    })?;
    ensure!(
        folder.is_dir(),
        "{VARIABLE} names {}: `cargo xtask setup kubernetes` makes it",
        folder.display()
    );
    Ok(folder)
}

/// Where that program of Kubernetes is.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = folder()?.join(name);
    ensure!(path.is_file(), "no program {}: `cargo xtask setup kubernetes` builds it", path.display());
    Ok(path)
}

/// Where they find each other, and the programs of the machine.
pub(crate) fn search_path() -> Result<OsString> {
    let mut path = folder()?.into_os_string();
    path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    Ok(path)
}
