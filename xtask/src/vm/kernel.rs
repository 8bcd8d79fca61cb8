//! Kernels to boot: Debian's packages, fetched and unpacked, not installed.

use std::{fmt, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{setup::unpack_once, shell, workspace::cache};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Release {
    /// The oldest that the agent runs on
    #[value(name = "6.1")]
    V6_1,
    #[value(name = "6.12")]
    V6_12,
    /// What this machine's Debian installs by itself
    HostDefault,
}

pub(super) struct Kernel {
    /// As `uname -r` will say it.
    pub(super) version: String,
    root: PathBuf,
}

const PREFIX: &str = "linux-image-";

// === impl Release ===

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::HostDefault => "host-default",
        })
    }
}

impl Release {
    /// The package that always depends on the newest of its kind. Those for clouds have few drivers, and all that we need.
    fn metapackage(self) -> &'static str {
        match self {
            // Debian 12's own; there is none that names the version.
            Self::V6_1 | Self::HostDefault => "linux-image-cloud-amd64",
            Self::V6_12 => "linux-image-6.12-cloud-amd64",
        }
    }

    /// Tests of the lab that need what this kernel has not: TCX, which came with 6.6.
    pub(super) fn cannot(self) -> &'static [&'static str] {
        match self {
            Self::V6_1 | Self::HostDefault => &[
                "evasion::a_packet_socket_that_skips_the_guard_is_stopped",
                "strangers::a_tcx_program_of_somebody_else_sees_what_leaves",
            ],
            Self::V6_12 => &[],
        }
    }
}

// === impl Kernel ===

impl Kernel {
    pub(super) fn fetch(release: Release) -> Result<Self> {
        let package = newest(release.metapackage())?;
        let version = package.strip_prefix(PREFIX).unwrap_or(&package).to_owned();
        let root = cache()?.join("kernels").join(&package);
        unpack_once(&format!("Linux {version}"), &[&package], &root, |part| {
            shell::run(Command::new("/usr/sbin/depmod").arg("--basedir").arg(part).arg(&version))
        })?;
        Ok(Self { version, root })
    }

    pub(super) fn image(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.version))
    }

    pub(super) fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.version)
    }

    /// Beside it, for what is learned of it on this machine.
    pub(super) fn note(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// The package that the metapackage depends on.
fn newest(metapackage: &str) -> Result<String> {
    let ask = || {
        let answer = shell::output(Command::new("apt-cache").args(["depends", "--important", metapackage]))?;
        answer.lines().find_map(|line| line.trim().strip_prefix("Depends: ").map(str::to_owned))
    };
    if let Some(package) = ask() {
        return Ok(package);
    }
    crate::setup::update_packages()?;
    ask().with_context(|| {
        format!("apt knows no package {metapackage}: is this Debian 12 with its security updates?")
    })
}
