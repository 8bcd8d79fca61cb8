//! Which process is the kubelet: PURE. What `/proc` says of processes is read by [`look`].

mod look;
#[cfg(test)]
mod tests;

pub(crate) use look::{Here, is_running, processes};

/// What it is called: by itself, in MicroK8s, and in k3s, whose one process is also the kubelet.
const NAMES: [&str; 5] = ["kubelet", "kubelite", "k3s", "k3s-server", "k3s-agent"];

/// A process, as the kernel describes it. Only the name is its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// When it was started, in ticks since boot: another with its PID began later.
    pub(crate) started: u64,
    pub(crate) name: String,
    /// Real, effective, saved, file system.
    pub(crate) users: Vec<u32>,
    /// `net:[4026531840]`
    pub(crate) network: String,
    /// `pid:[4026531836]`
    pub(crate) pids: String,
    /// `/proc/PID/cgroup`
    pub(crate) cgroups: String,
}

pub(crate) fn is_named_so(name: &str) -> bool {
    NAMES.contains(&name)
}

/// A pod with `hostNetwork` and `hostPID` has all that the kubelet has but its place among the cgroups.
pub(crate) fn is_kubelet(process: &Process, here: &Here) -> bool {
    is_named_so(&process.name)
        && !process.users.is_empty()
        && process.users.iter().all(|user| *user == 0)
        && process.network == here.network
        && process.pids == here.pids
        && !process.cgroups.lines().any(is_of_a_pod)
}

/// A line of `/proc/PID/cgroup`: `ID:CONTROLLERS:PATH`. Seen from a container the path may begin within those of the pods,
/// so either word is enough.
fn is_of_a_pod(line: &str) -> bool {
    let path = line.splitn(3, ':').nth(2).unwrap_or_default();
    path.split('/').any(|part| part.contains("kubepods") || part.strip_prefix("pod").is_some_and(is_uid))
}

/// A UUID, or the hash that a static pod has for one; systemd spells it with underscores.
fn is_uid(text: &str) -> bool {
    let text = text.strip_suffix(".slice").unwrap_or(text);
    let digits = text.chars().filter(|c| !matches!(c, '-' | '_'));
    digits.clone().count() == 32 && digits.clone().all(|c| c.is_ascii_hexdigit())
}
