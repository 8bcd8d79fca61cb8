//! What connections leave behind: nothing, once they have ended.

use std::fs;

use harness::Pod;

use crate::{
    mesh::{Mesh, fingerprint},
    steering::wait_for,
};

/// What there was of the agent, of its maps and in its pods.
#[derive(Debug)]
pub(crate) struct Traces {
    pods: Vec<Pod>,
    before: Found,
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// Files that the agent has open.
    files: usize,
    maps: String,
    pods: Vec<String>,
}

// === impl Traces ===

impl Traces {
    pub(crate) fn of(mesh: &Mesh, pods: &[&Pod]) -> Self {
        let pods: Vec<_> = pods.iter().map(|&pod| pod.clone()).collect();
        let before = Found::of(mesh, &pods);
        Self { pods, before }
    }

    /// Waits until all is as it was.
    #[track_caller]
    pub(crate) fn assert_gone(&self, mesh: &Mesh) {
        // The commands that were run before may have been about to hang up.
        let is_as_before = || {
            let Found { files, maps, pods } = Found::of(mesh, &self.pods);
            files <= self.before.files && maps == self.before.maps && pods == self.before.pods
        };
        let waited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait_for(is_as_before)));
        assert!(waited.is_ok(), "before: {:#?}\nnow: {:#?}", self.before, Found::of(mesh, &self.pods));
    }
}

// === impl Found ===

impl Found {
    fn of(mesh: &Mesh, pods: &[Pod]) -> Self {
        let pid = mesh.agent.pid().unwrap();
        Self {
            files: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            maps: mesh.ask(&["maps"]).to_string(),
            pods: pods.iter().map(|pod| fingerprint(pod) + &connections(pod)).collect(),
        }
    }
}

/// The sockets of connections in the pod, whoever's; what only waits for late segments belongs to nobody.
fn connections(pod: &Pod) -> String {
    let args = ["ss", "--no-header", "--tcp", "--numeric", "exclude", "time-wait", "exclude", "listening"];
    pod.run(&args).unwrap().stdout().unwrap().to_owned()
}
