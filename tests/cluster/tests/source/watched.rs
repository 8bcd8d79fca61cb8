//! The agent's source on the API server of a cluster: it runs inside the network from which that is reached.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use cluster::Cluster;
use control::{IndexConfig, KubernetesSource, SourceReport};
use harness::PATIENCE;
use model::Snapshot;
use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

/// Ends when it is dropped.
pub(crate) struct Watched {
    runtime: Runtime,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    reports: watch::Receiver<SourceReport>,
    reload: mpsc::Sender<()>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A kubeconfig of the cluster with changes: what is said of the cluster, and of the user.
pub(crate) fn kubeconfig(cluster: &Cluster, name: &str, of_cluster: &Value, of_user: &Value) -> PathBuf {
    let text = fs::read_to_string(cluster.kubeconfig()).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    for (changes, kind) in [(of_cluster, "cluster"), (of_user, "user")] {
        for (key, value) in changes.as_object().unwrap() {
            config[format!("{kind}s")][0][kind][key] = value.clone();
        }
    }
    let path = cluster.file(name);
    fs::write(&path, config.to_string()).unwrap();
    path
}

/// As somebody else.
pub(crate) fn kubeconfig_of(cluster: &Cluster, user: &str) -> PathBuf {
    kubeconfig(cluster, &format!("{user}.kubeconfig"), &json!({}), &json!({"as": user}))
}

// === impl Watched ===

impl Watched {
    pub(crate) fn start(cluster: &Cluster) -> Self {
        Self::with(cluster, cluster.kubeconfig())
    }

    pub(crate) fn with(cluster: &Cluster, kubeconfig: &Path) -> Self {
        let (publish, snapshots) = watch::channel(Arc::<Snapshot>::default());
        let (report, reports) = watch::channel(SourceReport::default());
        let (reload, reloads) = mpsc::channel(1);
        let (end, ending) = oneshot::channel();
        let place = cluster.control().clone();
        let kubeconfig = kubeconfig.to_owned();
        let run = async move {
            let source = KubernetesSource::connect(Some(&kubeconfig), IndexConfig::default()).await.unwrap();
            tokio::select! {
                ended = source.run(publish, report, reloads) => ended.unwrap(),
                _ = ending => {}
            }
        };
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            place.exec(|| runtime.block_on(run)).unwrap();
        });
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        Self { runtime, snapshots, reports, reload, end: Some(end), thread: Some(thread) }
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    pub(crate) fn report(&self) -> SourceReport {
        self.reports.borrow().clone()
    }

    /// The first snapshot of which it is true.
    pub(crate) fn wait(&mut self, what: &str, is_true: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let wait = self.snapshots.wait_for(|snapshot| snapshot.version > 0 && is_true(snapshot));
        let met =
            self.runtime.block_on(async { timeout(PATIENCE, wait).await.ok().map(|s| s.unwrap().clone()) });
        met.unwrap_or_else(|| panic!("never: {what}; {:?}", self.reports.borrow()))
    }

    pub(crate) fn wait_report(
        &mut self,
        what: &str,
        is_true: impl Fn(&SourceReport) -> bool,
    ) -> SourceReport {
        let wait = self.reports.wait_for(is_true);
        let met =
            self.runtime.block_on(async { timeout(PATIENCE, wait).await.ok().map(|s| s.unwrap().clone()) });
        met.unwrap_or_else(|| panic!("never: {what}; {:?}", self.reports.borrow()))
    }

    /// Every watch stands.
    pub(crate) fn wait_well(&mut self) {
        self.wait_report("all watches stand", |report| report.troubles.is_empty());
        self.wait("a snapshot", |_| true);
    }

    /// Looks for kinds of policies at once.
    pub(crate) fn reload(&self) {
        // Full: it will look anyway.
        let _will_look = self.reload.try_send(());
    }

    /// Looks at each snapshot that comes, on a thread of its own, until this source ends.
    pub(crate) fn observe(&self, look: impl Fn(&Snapshot) + Send + 'static) -> JoinHandle<()> {
        let mut snapshots = self.snapshots.clone();
        let mut reports = self.reports.clone();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                loop {
                    look(&snapshots.borrow_and_update().clone());
                    tokio::select! {
                        changed = snapshots.changed() => if changed.is_err() { return },
                        changed = reports.changed() => if changed.is_err() { return },
                    }
                }
            });
        })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}
