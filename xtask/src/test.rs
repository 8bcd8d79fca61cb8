//! `cargo xtask test`: what proves that it works.

use std::{env, process::Command};

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::{
    build, ebpf,
    place::{self, Place, PlaceArgs},
    setup, shell,
    vm::{self, Release},
    workspace::Workspace,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum, default_value_t = Suite::All)]
    suite: Suite,
    /// Run only tests whose name contains this
    filter: Option<String>,
    /// In virtual machines too, run all tests of the lab: in software emulation that is most of an hour for each kernel
    #[arg(long)]
    whole: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Suite {
    /// Pure parts and single components: no root, no eBPF
    Unit,
    /// The agent in a lab of network namespaces; in a virtual machine where this one may not load eBPF programs. Without
    /// apt, SYSTEMD_RESOLVED has to say where systemd-resolved is unpacked
    Lab,
    /// The lab on other kernels, each in a virtual machine: the tests of what kernels differ in
    Kernels,
    /// The agent on Kubernetes clusters of two nodes: built, once, from source
    Kubernetes,
    /// The seed corpora of the fuzzed parsers
    Seeds,
    All,
}

/// The tests of what kernels differ in: the programs and how they are attached, beside others' too; rules, routes and
/// marks; what is asked of sockets.
const DIFFERENT: [&str; 11] = [
    "clsact::",
    "dns::a_name_of_the_mesh_is_answered_whatever_the_resolver_says_and_every_other_name_by_it",
    "evasion::",
    "guard::",
    "hostile::a_program_that_the_kernel_refuses_is_named_with_what_its_verifier_said",
    "in_pod::",
    "neighbours::",
    "older::",
    "probes::",
    "steering::",
    "strangers::",
];

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let Args { suite, filter, whole, place } = args;
    let filter = filter.as_deref();
    let in_vm = |release| vm::lab(workspace, release, &selection(filter, *whole));
    let lab = |missing: Option<&str>| {
        ensure!(missing.is_none(), "the lab tests did not run: {}", missing.unwrap_or_default());
        match place.choose()? {
            Place::Here => lab(workspace, filter),
            Place::Vm => in_vm(Release::HostDefault),
        }
    };
    // What cannot be installed here keeps only the lab from running.
    let missing = setup::run().err().map(|error| error.to_string());
    let missing = missing.as_deref();
    match suite {
        Suite::Unit => unit(workspace, filter, missing),
        Suite::Seeds => unit(workspace, Some(filter.unwrap_or("seeds")), missing),
        Suite::Kernels => {
            vm::KERNELS.into_iter().try_for_each(in_vm)?;
            vm::check_without_ipv6(workspace)?;
            demo_without_powers()
        }
        Suite::Lab => lab(missing),
        Suite::Kubernetes => {
            ensure!(missing.is_none(), "the tests did not run: {}", missing.unwrap_or_default());
            kubernetes(workspace, filter)
        }
        Suite::All => {
            unit(workspace, filter, missing)?;
            lab(missing)
        }
    }
}

/// Which tests of the lab run in a virtual machine, as libtest is told.
fn selection(filter: Option<&str>, whole: bool) -> Vec<String> {
    match filter {
        Some(filter) => vec![filter.to_owned()],
        None if whole => Vec::new(),
        None => DIFFERENT.map(str::to_owned).to_vec(),
    }
}

/// The demo as on a machine that lets nobody load eBPF programs: it says so, and shows the same.
fn demo_without_powers() -> Result<()> {
    shell::step("demo without the capabilities that it takes");
    let mut demo = Command::new("setpriv");
    demo.arg("--bounding-set=-bpf,-net_admin,-sys_admin").arg(env::current_exe()?).arg("demo");
    let said = shell::answer(&mut demo)?;
    print!("{said}");
    ensure!(said.contains(place::INSTEAD), "it ran here, with the capabilities of nobody");
    Ok(())
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
            .args(["test", "--workspace", "--exclude", "harness", "--exclude", "cluster", "--locked", "--"])
            .args(filter),
    )
}

fn lab(workspace: &Workspace, filter: Option<&str>) -> Result<()> {
    let resolved = setup::systemd_resolved()?;
    build::release(workspace)?;
    shell::step("lab tests");
    shell::run(
        workspace
            .cargo()
            .args(["test", "--package", "harness", "--locked", "--"])
            .args(filter)
            .env("MILLSTREAM_BIN", workspace.millstream())
            .env(setup::SYSTEMD_RESOLVED, resolved)
            // Errors name what they were about; where they were made would bury that.
            .env("RUST_LIB_BACKTRACE", "0"),
    )
}

fn kubernetes(workspace: &Workspace, filter: Option<&str>) -> Result<()> {
    let programs = setup::kubernetes::run(workspace)?;
    setup::mount_bpffs()?;
    let image = build::release_with_image(workspace)?;
    build::clusters(workspace)?;
    shell::step("tests on clusters");
    shell::run(
        workspace
            .cargo()
            .args(["test", "--package", "cluster", "--locked", "--"])
            // A cluster mostly waits for its kubelets, but more than two would keep two cores from keeping up.
            .arg("--test-threads=2")
            .args(filter)
            .env(setup::kubernetes::PROGRAMS, programs)
            .env("MILLSTREAM_IMAGE", image)
            .env("MILLSTREAM_BIN", workspace.millstream())
            .env("RUST_LIB_BACKTRACE", "0"),
    )
}
