//! What an installation could leave on the nodes, and in the networks of their pods.

use anyhow::{Result, ensure};
use cluster::Cluster;

/// Whatever is in the folders that an agent writes to. Empty folders that were made to mount them stay.
pub(crate) const FILES: &str =
    "find /etc/cni/net.d /opt/cni/bin /run/millstream /var/lib/millstream /sys/fs/bpf ! -type d";

const ALL: &str = "FILES 2>/dev/null | sort
    cat /etc/cni/net.d/*; echo
    for netns in /run/netns/cni-*; do
        for family in -4 -6; do
            nsenter --net=$netns ip $family rule
            nsenter --net=$netns ip $family route show table 15001 2>/dev/null
        done
    done | sort -u";

/// As text, node by node.
#[derive(PartialEq, Eq)]
pub(crate) struct Traces(Vec<String>);

// === impl Traces ===

impl Traces {
    pub(crate) fn of(cluster: &Cluster) -> Result<Self> {
        let script = ALL.replace("FILES", FILES);
        let look = |node: &cluster::Node| Ok(node.run(&["sh", "-c", &script])?.stdout()?.to_owned());
        cluster.nodes().iter().map(look).collect::<Result<_>>().map(Self)
    }

    pub(crate) fn ensure_nothing_else(&self, now: &Self) -> Result<()> {
        for (before, now) in self.0.iter().zip(&now.0) {
            ensure!(before == now, "before the installation:\n{before}\n\nafter it was removed:\n{now}");
        }
        Ok(())
    }
}
