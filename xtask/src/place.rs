//! Where that runs which loads eBPF programs: on this machine or, where it does not let us, in a virtual one.

use std::fs;

use anyhow::Result;
use aya::{programs::ProgramType, sys::is_program_supported};

use crate::setup;

#[derive(clap::Args)]
pub(crate) struct PlaceArgs {
    /// On this machine, even if it seems not to let us load eBPF programs
    #[arg(long, conflicts_with = "vm")]
    here: bool,
    /// In a virtual machine, even if this one could
    #[arg(long)]
    vm: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Here,
    Vm,
}

/// What is said where that is not where one would have thought.
pub(crate) const INSTEAD: &str = "in a virtual machine, for here it cannot run";

/// What the kernel grants this process, as far as the lab needs it.
struct Powers {
    capabilities: u64,
    in_initial_userns: bool,
    has_cgroup2: bool,
    /// Why a program of two instructions was not loaded.
    refusal: Option<String>,
}

// === impl PlaceArgs ===

impl PlaceArgs {
    /// Asked of the kernel, not of `millstream check`: a broken agent must fail its tests, not move them elsewhere.
    pub(crate) fn choose(&self) -> Result<Place> {
        let place = match (self.here, self.vm) {
            (true, _) => Place::Here,
            (_, true) => Place::Vm,
            _ => match Powers::observe()?.obstacle() {
                None => Place::Here,
                Some(obstacle) => {
                    println!("==> {INSTEAD}: {obstacle}");
                    Place::Vm
                }
            },
        };
        if place == Place::Here {
            setup::mount_bpffs()?;
        }
        Ok(place)
    }
}

// === impl Powers ===

impl Powers {
    fn observe() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let uids = fs::read_to_string("/proc/self/uid_map")?;
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        Ok(Self {
            capabilities: effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0),
            in_initial_userns: uids.split_whitespace().eq(["0", "0", "4294967295"]),
            has_cgroup2: mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup2")),
            refusal: match is_program_supported(ProgramType::SkLookup) {
                Ok(true) => None,
                Ok(false) => Some("this kernel knows no sk_lookup programs (Linux 5.9)".to_owned()),
                Err(error) => {
                    Some(format!("the kernel loads no eBPF program ({:#})", anyhow::Error::from(error)))
                }
            },
        })
    }

    /// Why the lab cannot run here.
    fn obstacle(&self) -> Option<&str> {
        const NET_ADMIN: u64 = 1 << 12;
        const SYS_ADMIN: u64 = 1 << 21;
        let Self { capabilities, in_initial_userns, has_cgroup2, refusal } = self;
        if capabilities & (NET_ADMIN | SYS_ADMIN) != NET_ADMIN | SYS_ADMIN {
            return Some("this process has not the capabilities NET_ADMIN and SYS_ADMIN (root has them)");
        }
        if !in_initial_userns {
            return Some("root of a user namespace may not load eBPF programs");
        }
        if !has_cgroup2 {
            return Some("cgroup v2 is not mounted");
        }
        refusal.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::Powers;

    #[test]
    fn the_lab_needs_real_root_cgroup_v2_and_a_kernel_that_loads_programs() {
        let all =
            || Powers { capabilities: u64::MAX, in_initial_userns: true, has_cgroup2: true, refusal: None };
        let cases = [
            ("all there", all(), None),
            ("no capability", Powers { capabilities: 0, ..all() }, Some("NET_ADMIN and SYS_ADMIN")),
            ("net_admin only", Powers { capabilities: 1 << 12, ..all() }, Some("NET_ADMIN and SYS_ADMIN")),
            ("rootless", Powers { in_initial_userns: false, ..all() }, Some("user namespace")),
            ("cgroup v1", Powers { has_cgroup2: false, ..all() }, Some("cgroup v2")),
            ("seccomp", Powers { refusal: Some("EPERM".to_owned()), ..all() }, Some("EPERM")),
        ];
        for (name, powers, expected) in cases {
            let obstacle = powers.obstacle();
            assert_eq!(obstacle.is_some(), expected.is_some(), "{name}: {obstacle:?}");
            assert!(obstacle.is_none_or(|o| o.contains(expected.unwrap())), "{name}: {obstacle:?}");
        }
    }
}
