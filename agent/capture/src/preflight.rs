//! What the kernel and the machine must offer, looked at before anything is touched: one finding per thing, all
//! at once, each with its remedy.

use std::{fs, path::Path};

use caps::{CapSet, Capability};
use nix::sys::statfs::statfs;
use serde::Serialize;

use crate::{cgroup, sysctl};

/// The oldest kernel that is tested, and for which there is code.
const FLOOR: (u32, u32) = (6, 1);

/// Why each capability is needed; the DaemonSet asks for the same.
pub const CAPABILITIES: [(Capability, &str); 7] = [
    (Capability::CAP_SYS_ADMIN, "to enter pods' network namespaces (setns)"),
    (Capability::CAP_SYS_PTRACE, "to find them: `/proc/PID/ns` of processes of other users"),
    (
        Capability::CAP_NET_ADMIN,
        "for rules, routes, transparent sockets, marks, and to see and reset connections",
    ),
    (
        Capability::CAP_DAC_OVERRIDE,
        "to make a cgroup of its own: the root of the hierarchy is read-only to its owner",
    ),
    (Capability::CAP_BPF, "to load eBPF programs and make maps"),
    (Capability::CAP_PERFMON, "for eBPF programs that compare pointers"),
    (
        Capability::CAP_NET_RAW,
        "to bind the proxy's sockets to an interface, and to reply to DNS queries from the address that was asked",
    ),
];

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do, where it is not ok.
    pub remedy: Option<String>,
}

/// Everything but the self-test, which needs all of this: see [`crate::canary`].
pub fn inspect() -> Vec<Finding> {
    vec![
        kernel(&release()),
        btf(),
        cgroup_v2(),
        agent_cgroup(),
        bpffs(),
        capabilities(),
        sysctls(),
        tcx(),
        packet_sockets(),
        ipv6(),
    ]
}

/// Mounts bpffs where it should be, if it is not. Systemd does it at boot; small systems do not.
///
/// # Errors
///
/// `EPERM` in a container whose mounts the node does not see: what is pinned would go with it, and with that what keeps
/// pods captured while no agent runs.
pub fn mount_bpffs() -> nix::Result<()> {
    if is_bpffs(Path::new(crate::pins::BPFFS)) {
        return Ok(());
    }
    let mounts_of = |process| fs::read_link(format!("/proc/{process}/ns/mnt"));
    if mounts_of("self").ok() != mounts_of("1").ok() {
        return Err(nix::errno::Errno::EPERM);
    }
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("bpf"), crate::pins::BPFFS, Some("bpf"), flags, None::<&str>)
}

fn kernel(release: &str) -> Finding {
    let ok = version(release).is_some_and(|v| v >= FLOOR);
    let remedy = format!("boot Linux {}.{} or newer", FLOOR.0, FLOOR.1);
    finding("kernel", ok, release.to_owned(), &remedy)
}

pub(crate) fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-', '+']).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn btf() -> Finding {
    let path = "/sys/kernel/btf/vmlinux";
    let ok = Path::new(path).exists();
    let found = if ok { path.to_owned() } else { format!("{path} is missing") };
    finding("btf", ok, found, "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions do")
}

fn cgroup_v2() -> Finding {
    let mount = cgroup::mount();
    let found = mount.as_ref().map_or("not mounted".to_owned(), |m| format!("mounted at {}", m.display()));
    finding(
        "cgroup-v2",
        mount.is_some(),
        found,
        "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup (or boot with systemd.unified_cgroup_hierarchy=1)",
    )
}

/// The connect hooks know the agent by a cgroup that it shares with nobody; it makes one at start.
fn agent_cgroup() -> Finding {
    let writable = |path: &Path| nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok();
    let ok = cgroup::mount().is_some_and(|mount| writable(&mount));
    let found = if ok { "the agent can make one of its own" } else { "the agent cannot make one of its own" };
    finding("agent-cgroup", ok, found.to_owned(), "mount /sys/fs/cgroup writable, from the host")
}

fn bpffs() -> Finding {
    let path = crate::pins::BPFFS;
    let ok = is_bpffs(Path::new(path));
    let found = if ok { format!("mounted at {path}") } else { format!("not mounted at {path}") };
    finding(
        "bpffs",
        ok,
        found,
        &format!("mount it on the node: mount -t bpf bpf {path} (an agent outside a container does so)"),
    )
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|s| s.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC)
}

fn capabilities() -> Finding {
    let missing: Vec<String> = CAPABILITIES
        .into_iter()
        .filter(|(cap, _)| !caps::has_cap(None, CapSet::Effective, *cap).unwrap_or(false))
        .map(|(cap, why)| format!("{cap} ({why})"))
        .collect();
    let found =
        if missing.is_empty() { "all there".to_owned() } else { format!("missing: {}", missing.join(", ")) };
    let remedy = "run as root, or give the container these in securityContext.capabilities.add";
    finding("capabilities", missing.is_empty(), found, remedy)
}

fn sysctls() -> Finding {
    let path = sysctl::root().join("net/ipv4/tcp_fwmark_accept");
    let writable =
        fs::metadata(&path).is_ok() && nix::unistd::access(&path, nix::unistd::AccessFlags::W_OK).is_ok();
    let found = if writable { "net.ipv4.tcp_fwmark_accept can be set" } else { "/proc/sys is read-only" };
    let remedy = "mount the node's /proc/sys/net at /host/proc/sys/net, or run privileged";
    finding("sysctls", writable, found.to_owned(), remedy)
}

/// A fact rather than a demand: without it the guard is a tc filter.
fn tcx() -> Finding {
    let found = if has_tcx() { "there" } else { NO_TCX };
    finding("tcx", true, found.to_owned(), "")
}

/// A fact as well: the one way out that is not closed everywhere.
fn packet_sockets() -> Finding {
    let found = if has_tcx() {
        "stopped, but for those that pods with NET_RAW and without a veth (macvlan, ipvlan, SR-IOV) had before capture"
    } else {
        "not stopped if a pod with NET_RAW had them before capture; drop NET_RAW from pods that must not get out"
    };
    finding("packet-sockets", true, found.to_owned(), "")
}

/// What is lost without it.
pub const NO_TCX: &str = "needs Linux 6.6: the guard is a tc filter, which NET_ADMIN in the pod can remove, and older \
                          packet sockets that skip it are not stopped";

/// TCX came with Linux 6.6.
pub fn has_tcx() -> bool {
    version(&release()).is_some_and(|version| version >= (6, 6))
}

/// A fact rather than a demand: IPv4 alone is fine.
fn ipv6() -> Finding {
    let there = Path::new("/proc/sys/net/ipv6").exists();
    let found = if there { "there" } else { "off in this kernel: IPv4 alone is captured" };
    finding("ipv6", true, found.to_owned(), "")
}

fn finding(check: &'static str, ok: bool, found: String, remedy: &str) -> Finding {
    Finding { check, ok, found, remedy: (!ok).then(|| remedy.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::{kernel, version};

    #[test]
    fn a_kernel_older_than_the_floor_is_refused() {
        for (release, ok) in
            [("6.1.0-56-cloud-amd64", true), ("6.0.19", false), ("5.15.0-91-generic", false), ("?", false)]
        {
            let finding = kernel(release);
            assert_eq!(finding.ok, ok, "{release}");
            assert_eq!(finding.remedy.as_deref(), (!ok).then_some("boot Linux 6.1 or newer"), "{release}");
        }
    }

    #[test]
    fn kernel_releases() {
        for (release, expected) in [
            ("6.1.0-18-amd64", Some((6, 1))),
            ("6.12", Some((6, 12))),
            ("5.15.0+", Some((5, 15))),
            ("6.8-rc1", Some((6, 8))),
            ("", None),
            ("linux", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }
}
