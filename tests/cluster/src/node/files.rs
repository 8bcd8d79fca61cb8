//! What the programs of a node are told: their configuration files, and the mounts that they live in.

use std::path::Path;

use harness::address;
use serde_json::{Value, json};

use crate::{image, pki::Identity};

/// In the node's own `/run`.
pub(super) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// In the node's own `/etc`.
const STATIC_PODS: &str = "/etc/kubernetes/manifests";

/// Shell commands that give a node files of its own. `cluster` is the folder that all of the cluster is in, and `own`,
/// below it, that of the node; both stay where they are.
///
/// What a reboot leaves is kept in `own`: `/etc`, `/opt`, `/var/lib` and `/var/log`. What it does not is new each time:
/// `/run` and the BPF file system.
pub(super) fn mounts(cluster: &Path, own: &Path) -> String {
    let in_run = cluster.strip_prefix("/run").unwrap_or(cluster).display();
    let (cluster, own) = (cluster.display(), own.display());
    format!(
        "mount --bind {own}/log /var/log
         mount --bind {own}/lib /var/lib
         for dir in etc opt; do
             mount -t overlay -o lowerdir=/$dir,upperdir={own}/$dir,workdir={own}/$dir.work overlay /$dir
         done
         mount -t bpf bpf /sys/fs/bpf
         mount -t tmpfs -o mode=755 tmpfs {own}/tmpfs
         mkdir -p {own}/tmpfs/{in_run} {own}/tmpfs/netns {own}/tmpfs/millstream
         mount --bind {cluster} {own}/tmpfs/{in_run}
         mount --rbind {own}/tmpfs /run"
    )
}

/// The folders that [`mounts`] needs.
pub(super) const FOLDERS: [&str; 8] =
    ["log", "lib", "etc/cni/net.d", "etc/kubernetes/manifests", "etc.work", "opt", "opt.work", "tmpfs"];

pub(super) fn containerd() -> String {
    format!(
        r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{sandbox}"

[plugins."io.containerd.cri.v1.runtime"]
# Where root lacks CAP_SYS_RESOURCE it cannot lower the score, and no pod would start.
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "runc"
SystemdCgroup = false
"#,
        sandbox = image::NAME,
    )
}

/// The network of the pods: each on a wire of its own, routed by the node. Where they shared a bridge, the answer of a
/// service to a pod of the same node would not pass the node, where kube-proxy's address must be put back.
pub(super) fn network(node: u8) -> Value {
    let networks = address::network(node).prefixes(address::Families::Dual).into_iter();
    let ranges: Vec<_> =
        networks.map(|(address, length)| json!([{ "subnet": format!("{address}/{length}") }])).collect();
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "ranges": ranges,
                    "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
                    "dataDir": "/var/lib/cni/networks",
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

/// JSON is YAML.
pub(super) fn kubelet(cgroup: &str, authority: &Path, serving: &Identity, resolv_conf: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": authority },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": serving.certificate,
        "tlsPrivateKeyFile": serving.key,
        "resolvConf": resolv_conf,
        "staticPodPath": STATIC_PODS,
        // The machine may have both versions, and the nodes share it: each has its part of every hierarchy.
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        // The disk is the machine's, and so is what fills it.
        "localStorageCapacityIsolation": false,
        "evictionHard": { "memory.available": "50Mi" },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    })
}
