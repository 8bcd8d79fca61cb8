//! The network namespaces of pods, found by the cgroups of their processes.
//!
//! Every container runtime puts the processes of a pod into a cgroup that the kubelet names after the pod's UID. The
//! oldest of them is the one that holds the namespace (the pause container, where there is one): what an application
//! started later may have moved into a namespace of its own. What is found is a claim, as a path in a manifest is:
//! whoever uses it verifies that the pod's address is inside.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

/// A process of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    /// In clock ticks since boot (proc_pid_stat(5), field 22).
    started: u64,
    pid: u32,
}

/// Where the pods with these UIDs live, as far as this process can see theirs (in Kubernetes: with `hostPID`).
///
/// # Errors
///
/// `/proc` cannot be read.
pub fn of_pods<'a>(uids: impl IntoIterator<Item = &'a str>) -> io::Result<HashMap<&'a str, PathBuf>> {
    let names: HashMap<String, &str> =
        uids.into_iter().flat_map(|uid| spellings(uid).map(|name| (name, uid))).collect();
    let mut oldest: HashMap<&str, Process> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile is no error.
        let Ok(cgroups) = fs::read_to_string(file(pid, "cgroup")) else { continue };
        let Some(uid) = pod_of(&cgroups, &names) else { continue };
        let Some(process) = Process::look(pid) else { continue };
        oldest.entry(uid).and_modify(|known| *known = process.min(*known)).or_insert(process);
    }
    Ok(oldest.into_iter().map(|(uid, process)| (uid, file(process.pid, "ns/net"))).collect())
}

/// How the kubelet calls the cgroup of a pod: with its `cgroupfs` driver, and with `systemd`, where a dash would mean a
/// level.
fn spellings(uid: &str) -> [String; 2] {
    [format!("pod{uid}"), format!("pod{}", uid.replace('-', "_"))]
}

/// The first level that is a pod's decides: below it the pod itself may name cgroups.
fn pod_of<'a>(cgroups: &str, names: &HashMap<String, &'a str>) -> Option<&'a str> {
    let paths = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.flat_map(|path| path.split('/')).find_map(|level| {
        let name = match level.strip_suffix(".slice") {
            Some(unit) => unit.rsplit('-').next().unwrap_or(unit),
            None => level,
        };
        names.get(name).copied()
    })
}

fn file(pid: u32, name: &str) -> PathBuf {
    Path::new("/proc").join(pid.to_string()).join(name)
}

// === impl Process ===

impl Process {
    /// `None` if it has ended: one that nobody has waited for yet has no namespace any more.
    fn look(pid: u32) -> Option<Self> {
        fs::metadata(file(pid, "ns/net")).ok()?;
        let stat = fs::read_to_string(file(pid, "stat")).ok()?;
        Some(Self { started: started(&stat)?, pid })
    }
}

/// A name in parentheses may hold anything, but what follows the last one is numbers.
fn started(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "6a9f1a5e-8f2b-4b0e-9d0c-0f1f7a6b8c9d";

    #[test]
    fn a_pod_is_known_by_its_cgroup_however_the_runtime_spells_it() {
        let names: HashMap<_, _> = spellings(UID).map(|name| (name, UID)).into();
        let cases = [
            ("cgroupfs", "0::/kubepods/burstable/podUID/5d1e", true),
            ("cgroupfs, guaranteed", "0::/kubepods/podUID/5d1e", true),
            ("v1, many hierarchies", "9:cpu:/n1/kubepods/besteffort/podUID/5d1e\n0::/", true),
            ("systemd", "0::/kubepods.slice/kubepods-pod_UID.slice/cri-containerd-5d1e.scope", true),
            ("kind", "0::/kubelet.slice/kubelet-kubepods-pod_UID.slice/cri-containerd-5d1e.scope", true),
            ("seen from another cgroup namespace", "0::/../../../burstable/podUID/5d1e", true),
            ("another pod", "0::/kubepods/burstable/pod00000000-0000-4000-8000-000000000000/5d1e", false),
            ("a longer name", "0::/kubepods/burstable/podUID-2/5d1e", false),
            ("not a pod", "0::/system.slice/containerd.service", false),
            ("damaged", "kubepods", false),
        ];
        for (name, cgroups, is_its) in cases {
            let cgroups = cgroups.replace("_UID", &UID.replace('-', "_")).replace("UID", UID);
            assert_eq!(pod_of(&cgroups, &names).is_some(), is_its, "{name}: {cgroups}");
        }
    }

    #[test]
    fn a_pod_cannot_pass_for_another_by_a_cgroup_of_its_own() {
        let names = HashMap::from([("podme".to_owned(), "me"), ("podother".to_owned(), "other")]);
        assert_eq!(pod_of("0::/kubepods/podme/podother", &names), Some("me"));
    }

    #[test]
    fn the_start_of_a_process_is_read_past_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        assert_eq!(started(stat), Some(4711));
        assert_eq!(started("7 (sleep"), None);
    }
}
