use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cni::{
    conflist,
    entry::Entry,
    install::{Install, State},
};
use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::{Chain, ChainState};

/// Shorter than a rescan, so that the watch must have seen it; nothing waits so long when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    dir: TempDir,
    states: watch::Receiver<ChainState>,
    keeping: JoinHandle<()>,
}

// === impl Node ===

impl Node {
    /// Neither directory is there yet.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("plugin"), "plugin").unwrap();
        let install = Install {
            plugin: dir.path().join("plugin"),
            bin_dir: dir.path().join("opt/cni/bin"),
            conf_dir: dir.path().join("etc/cni/net.d"),
            entry: Entry::default(),
            own_conflist: false,
        };
        let (states, receiver) = watch::channel(ChainState::default());
        Self { dir, states: receiver, keeping: tokio::spawn(Chain { install }.keep(states)) }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn conflist(&self) -> PathBuf {
        self.path("etc/cni/net.d/10-net.conflist")
    }

    async fn until(&mut self, name: &str, wanted: impl FnMut(&ChainState) -> bool) -> ChainState {
        let state = timeout(PATIENCE, self.states.wait_for(wanted)).await;
        state.unwrap_or_else(|_| panic!("{name}")).unwrap().clone()
    }

    async fn installed(&mut self, name: &str, repairs: u64) {
        let file = self.conflist();
        self.until(name, |state| {
            state.state == Some(State::Installed { file: file.clone() }) && state.repairs == repairs
        })
        .await;
        assert!(conflist::has_entry(&fs::read_to_string(&file).unwrap()), "{name}");
        assert_eq!(fs::read(self.path("opt/cni/bin/millstream-cni")).unwrap(), b"plugin", "{name}");
    }
}

fn primary(of: &str) -> String {
    format!("{{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"plugins\":[{{\"type\":\"{of}\"}}]}}")
}

#[tokio::test]
async fn the_plugin_is_kept_where_it_belongs() {
    let mut node = Node::start();
    node.until("nothing there", |state| matches!(state.state, Some(State::Waiting { .. }))).await;

    fs::create_dir_all(node.path("opt/cni/bin")).unwrap();
    fs::create_dir_all(node.path("etc/cni/net.d")).unwrap();
    fs::write(node.conflist(), primary("ptp")).unwrap();
    node.installed("the primary comes", 0).await;

    fs::write(node.conflist(), primary("bridge")).unwrap();
    node.installed("rewritten", 1).await;

    fs::remove_file(node.path("opt/cni/bin/millstream-cni")).unwrap();
    node.installed("the plugin removed", 2).await;

    fs::rename(node.path("etc/cni"), node.path("etc/aside")).unwrap();
    node.until("the directory gone", |state| matches!(state.state, Some(State::Waiting { .. }))).await;
    fs::create_dir_all(node.path("etc/cni/net.d")).unwrap();
    fs::write(node.conflist(), primary("ptp")).unwrap();
    node.installed("another directory", 3).await;
    fs::write(node.conflist(), "{").unwrap();
    let state = node.until("damaged", |state| !state.malformed.is_empty()).await;
    assert!(matches!(state.state, Some(State::Waiting { .. })));
    fs::write(node.conflist(), primary("ptp")).unwrap();
    node.installed("mended", 4).await;

    let Node { dir: _dir, states, keeping } = node;
    drop(states);
    timeout(PATIENCE, keeping).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_rival_that_never_rests_is_named_and_not_raced() {
    let mut node = Node::start();
    fs::create_dir_all(node.path("opt/cni/bin")).unwrap();
    fs::create_dir_all(node.path("etc/cni/net.d")).unwrap();
    fs::write(node.conflist(), primary("cilium-cni")).unwrap();
    node.installed("at first", 0).await;

    let over = Arc::new(AtomicBool::new(false));
    let (file, new, is_over) = (node.conflist(), node.path("etc/cni/net.d/new"), over.clone());
    let rival = spawn_blocking(move || {
        let mut writes = 0_u64;
        while !is_over.load(Ordering::Relaxed) {
            let text = fs::read_to_string(&file).unwrap();
            assert_eq!(conflist::types(&text), ["cilium-cni"], "always whole");
            if conflist::has_entry(&text) {
                fs::write(&new, primary("cilium-cni")).unwrap();
                fs::rename(&new, &file).unwrap();
                writes += 1;
            }
            std::thread::yield_now();
        }
        writes
    });
    let state = node.until("a dispute", |state| state.dispute.is_some()).await;
    let dispute = state.dispute.unwrap();
    assert_eq!((dispute.times, &dispute.file), (3, &node.conflist()));
    assert!(dispute.to_string().contains("cni.exclusive=false"), "{dispute}");
    over.store(true, Ordering::Relaxed);
    // The last word is ours.
    let writes = rival.await.unwrap();
    let state = node.until("the rival rests", |state| state.repairs == writes).await;
    assert!(state.repairs <= 5, "{state:?}");
    assert!(conflist::has_entry(&fs::read_to_string(node.conflist()).unwrap()));
}
