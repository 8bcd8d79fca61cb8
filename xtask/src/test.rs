//! `cargo xtask test`: what proves that it works.

use std::fs;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::{
    build, ebpf, setup, shell,
    vm::{self, Release},
    workspace::{Workspace, sources},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum, default_value_t = Suite::All)]
    suite: Suite,
    /// Run only tests whose name contains this
    filter: Option<String>,
    /// Fail where the lab cannot run, instead of leaving it out
    #[arg(long)]
    demand_lab: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Suite {
    /// Pure parts and single components: no root, no eBPF
    Unit,
    /// The agent in a lab of network namespaces: root, and a kernel that loads eBPF programs
    Lab,
    /// The lab on other kernels, each in a virtual machine
    Kernels,
    /// The seed corpora of the fuzzed parsers
    Seeds,
    All,
}

/// The oldest that the agent runs on, where the guard is a tc filter, and one between it and the newest.
const KERNELS: [Release; 2] = [Release::V6_1, Release::V6_12];

/// What the kernel grants this process, as far as the lab needs it.
struct Powers {
    capabilities: u64,
    in_initial_userns: bool,
    has_cgroup2: bool,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let Args { suite, filter, demand_lab } = args;
    let filter = filter.as_deref();
    // What cannot be installed here keeps only the lab from running.
    let missing = setup::run().err().map(|error| error.to_string());
    let missing = missing.as_deref();
    match suite {
        Suite::Unit => unit(workspace, filter, missing),
        Suite::Seeds => unit(workspace, Some(filter.unwrap_or("seeds")), missing),
        Suite::Kernels => KERNELS.iter().try_for_each(|kernel| vm::lab(workspace, *kernel, filter)),
        Suite::Lab => lab_if_possible(workspace, filter, missing, *demand_lab),
        Suite::All => {
            unit(workspace, filter, missing)?;
            lab_if_possible(workspace, filter, missing, *demand_lab)
        }
    }
}

fn unit(workspace: &Workspace, filter: Option<&str>, missing: Option<&str>) -> Result<()> {
    match missing {
        None => ebpf::build(workspace)?,
        Some(missing) => println!("    without the eBPF programs: {missing}"),
    }
    shell::step("unit tests");
    shell::run(
        workspace
            .cargo()
            .args(["test", "--workspace", "--exclude", "harness", "--locked", "--"])
            .args(filter),
    )
}

fn lab_if_possible(
    workspace: &Workspace,
    filter: Option<&str>,
    missing: Option<&str>,
    demand: bool,
) -> Result<()> {
    let Some(obstacle) = missing.or(Powers::observe()?.obstacle()) else {
        return lab(workspace, filter);
    };
    let tests = count_lab_tests(workspace)?;
    let sentence = format!("{tests} lab tests did not run: {obstacle}");
    ensure!(!demand, "{sentence}");
    println!("==> {sentence}");
    Ok(())
}

fn lab(workspace: &Workspace, filter: Option<&str>) -> Result<()> {
    build::release(workspace)?;
    shell::step("lab tests");
    shell::run(
        workspace
            .cargo()
            .args(["test", "--package", "harness", "--locked", "--"])
            .args(filter)
            .env("MILLSTREAM_BIN", workspace.millstream())
            // Errors name what they were about; where they were made would bury that.
            .env("RUST_LIB_BACKTRACE", "0"),
    )
}

/// Counted in the sources: to compile what cannot run would be a long way to a number.
fn count_lab_tests(workspace: &Workspace) -> Result<usize> {
    let files = sources(&workspace.root.join("tests/lab"))?;
    let texts = files.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
    // What is ignored does not run in the lab either.
    let count = |text: &String| text.matches("#[test]").count() - text.matches("#[ignore").count();
    Ok(texts.iter().map(count).sum())
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
        })
    }

    /// Why the lab cannot run here.
    ///
    /// Asked of the kernel, not of `millstream check`: a broken agent must fail its tests, not skip them.
    fn obstacle(&self) -> Option<&'static str> {
        const NET_ADMIN: u64 = 1 << 12;
        const SYS_ADMIN: u64 = 1 << 21;
        let Self { capabilities, in_initial_userns, has_cgroup2 } = *self;
        if capabilities & (NET_ADMIN | SYS_ADMIN) != NET_ADMIN | SYS_ADMIN {
            return Some("this process has not the capabilities NET_ADMIN and SYS_ADMIN; run as root");
        }
        if !in_initial_userns {
            return Some("root of a user namespace may not load eBPF programs");
        }
        if !has_cgroup2 {
            return Some("cgroup v2 is not mounted");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::Powers;

    #[test]
    fn the_lab_needs_real_root_and_cgroup_v2() {
        let all = || Powers { capabilities: u64::MAX, in_initial_userns: true, has_cgroup2: true };
        let cases = [
            ("all there", all(), None),
            ("no capability", Powers { capabilities: 0, ..all() }, Some("run as root")),
            ("net_admin only", Powers { capabilities: 1 << 12, ..all() }, Some("run as root")),
            ("rootless", Powers { in_initial_userns: false, ..all() }, Some("user namespace")),
            ("cgroup v1", Powers { has_cgroup2: false, ..all() }, Some("cgroup v2")),
        ];
        for (name, powers, expected) in cases {
            let obstacle = powers.obstacle();
            assert_eq!(obstacle.is_some(), expected.is_some(), "{name}: {obstacle:?}");
            assert!(obstacle.is_none_or(|o| o.contains(expected.unwrap())), "{name}: {obstacle:?}");
        }
    }
}
