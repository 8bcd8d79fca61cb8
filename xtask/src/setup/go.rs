//! The Go that builds what is written in Go: the one at hand, else one that the Go module proxy has.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{find_program, need};
use crate::shell;

/// From this one on, a Go fetches by itself the newer one that a go.mod asks for.
const FETCHES_OTHERS: (u32, u32) = (1, 21);
const TOOLCHAIN: &str = "golang.org/toolchain";

pub(super) struct Go(PathBuf);

// === impl Go ===

impl Go {
    /// `pins` is the folder whose go.mod says which Go to fetch where there is none, or only one that is too old.
    pub(super) fn find(pins: &Path) -> Result<Self> {
        let there = find_program("go");
        if there.as_deref().and_then(version).is_some_and(|version| FETCHES_OTHERS <= version) {
            return Ok(Self(there.context("no go")?));
        }
        need(&[("go", "golang-go")])?;
        fetch(pins, &find_program("go").context("the package golang-go has no go")?)
    }

    /// A `go build` in the folder of a go.mod, which nothing else around may influence.
    pub(super) fn build(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.0);
        command.current_dir(folder).args(["build", "-trimpath", "-buildvcs=false"]);
        command.env("GOTOOLCHAIN", "auto").env("GOWORK", "off").env("GOFLAGS", "").env("CGO_ENABLED", "0");
        command
    }
}

/// Debian's is too old for anything but fetching modules, and a newer Go is one.
fn fetch(pins: &Path, old: &Path) -> Result<Go> {
    shell::step("fetch a newer Go from the Go module proxy");
    let mut download = Command::new(old);
    download.current_dir(pins).args(["mod", "download", "-json", TOOLCHAIN]);
    let answer = shell::answer(download.env("GOFLAGS", "").env("GOWORK", "off"))?;
    let answer: Value = serde_json::from_str(&answer).context("`go mod download` printed no JSON")?;
    let root = Path::new(answer["Dir"].as_str().context("`go mod download` names no folder")?);
    // Files of modules are not executable; a Go that fetches another does the same.
    for folder in ["bin", "pkg/tool"] {
        make_executable(&root.join(folder))?;
    }
    Ok(Go(root.join("bin/go")))
}

fn make_executable(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            make_executable(&path)?;
        } else {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o555))
                .with_context(|| format!("cannot make {} executable", path.display()))?;
        }
    }
    Ok(())
}

/// `go1.26.8` is (1, 26).
fn version(go: &Path) -> Option<(u32, u32)> {
    let said = shell::output(Command::new(go).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local"))?;
    parse(&said)
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.strip_prefix("go")?.split(['.', '-', 'r', 'b', ' ']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_go_says_which_it_is() {
        let cases = [
            ("go1.26.8", Some((1, 26))),
            ("go1.19", Some((1, 19))),
            ("go1.27rc1", Some((1, 27))),
            ("go1.26.8 X:nocoverageredesign", Some((1, 26))),
            ("devel +abc", None),
            ("", None),
        ];
        for (said, expected) in cases {
            assert_eq!(parse(said), expected, "{said}");
        }
    }
}
