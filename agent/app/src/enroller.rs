//! From snapshots to captured pods: enrols, releases, adopts what an earlier agent left, and gives up what is gone.
//!
//! One task does it all, so that no two changes to a pod ever overlap. What takes long (the end of a released
//! pod's connections) is waited for elsewhere and comes back as an [`Event`].

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use capture::{Capture, PodSpec, plan::Step};
use model::{ExistingConnections, Pod, PodUid, Snapshot};
use netns::Netns;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{info, warn};

use crate::{
    listeners::ProxyListeners,
    older::{Resetter, reset_is_due},
    pods::{Phase, PhaseBoard},
};

/// How often namespaces are looked at whose end nobody announced, and failed pods are tried again at most.
const SWEEP: Duration = Duration::from_secs(2);

/// Between tries of a pod that cannot be captured, at most.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Enroller {
    pub node: Arc<str>,
    pub capture: Arc<Capture>,
    pub listeners: ProxyListeners,
    pub board: PhaseBoard,
    /// How long a released pod's captured connections may go on.
    pub release_drain: Duration,
    /// How long its listeners stay after the last has ended.
    pub linger: Duration,
    pub ready: watch::Sender<bool>,
}

/// A pod in our hands.
#[derive(Debug)]
struct Managed {
    spec: PodSpec,
    existing_connections: ExistingConnections,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Captured,
    /// The number tells the end of this release from that of one that was called off.
    Releasing(u64),
}

/// A pod that could not be captured.
#[derive(Debug)]
struct Failure {
    tries: u32,
    next: Instant,
}

#[derive(Debug)]
enum Event {
    /// The last captured connection of a released pod has ended, or its time is over.
    Drained(PodUid, u64),
    /// Addresses or links in the pod's namespace have changed.
    Changed(PodUid),
}

/// The loop's own state.
struct Work {
    enroller: Enroller,
    managed: HashMap<PodUid, Managed>,
    failures: HashMap<PodUid, Failure>,
    releases: u64,
    resetter: Resetter,
    events: mpsc::UnboundedSender<Event>,
}

// === impl Enroller ===

impl Enroller {
    /// Works until nobody publishes snapshots any more.
    pub async fn run(self, mut snapshots: watch::Receiver<Arc<Snapshot>>) {
        let (events, mut incoming) = mpsc::unbounded_channel();
        let mut work = Work {
            enroller: self,
            managed: HashMap::new(),
            failures: HashMap::new(),
            releases: 0,
            resetter: Resetter::default(),
            events,
        };
        // The first snapshot is empty: nothing may be concluded from it.
        if snapshots.wait_for(|s| s.version > 0).await.is_err() {
            return;
        }
        let snapshot = snapshots.borrow_and_update().clone();
        work.follow(&snapshot).await;
        work.settle_what_was_left(&snapshot).await;
        work.enroller.ready.send_replace(true);

        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let snapshot = snapshots.borrow_and_update().clone();
                    work.follow(&snapshot).await;
                }
                Some(event) = incoming.recv() => work.on(event).await,
                _ = sweep.tick() => {
                    let snapshot = snapshots.borrow().clone();
                    work.forget_the_gone().await;
                    work.retry(&snapshot).await;
                }
            }
        }
    }
}

// === impl Work ===

impl Work {
    /// Brings every pod of the node to where the snapshot wants it.
    async fn follow(&mut self, snapshot: &Snapshot) {
        let wanted = |pod: &&Arc<Pod>| pod.is_captured_by(&self.enroller.node);
        let pods: Vec<Arc<Pod>> = snapshot.pods().into_iter().filter(wanted).cloned().collect();
        let unwanted: Vec<PodUid> =
            self.managed.keys().filter(|uid| !pods.iter().any(|p| p.uid == **uid)).cloned().collect();
        for uid in unwanted {
            self.release(&uid).await;
        }
        self.failures.retain(|uid, _| {
            let wanted = pods.iter().any(|p| p.uid == *uid);
            if !wanted && !self.managed.contains_key(uid) {
                self.enroller.board.set(uid, None);
            }
            wanted
        });
        for pod in pods {
            self.enrol(&pod).await;
        }
    }

    async fn enrol(&mut self, pod: &Pod) {
        if self.is_up_to_date(pod) {
            return;
        }
        match self.try_enrol(pod).await {
            Ok(()) => {
                self.failures.remove(&pod.uid);
                self.enroller.board.set(&pod.uid, Some(Phase::Captured));
            }
            Err(e) => self.note_failure(pod, &e),
        }
    }

    async fn try_enrol(&mut self, pod: &Pod) -> Result<()> {
        let began = Instant::now();
        let spec = self.spec(pod)?;
        let steps = self.enroller.capture.enrol(&spec, &self.enroller.listeners).await?;
        self.enroller.listeners.0.recapture(&spec.uid);
        let older = self.enroller.capture.older(&spec);
        let existing_connections = pod.existing_connections;
        let managed = Managed { spec, existing_connections, state: State::Captured };
        let known = self.managed.insert(pod.uid.clone(), managed);
        if known.is_none() {
            self.follow_addresses(&pod.uid).await;
        }
        info!(pod = %pod.name, uid = %pod.uid, by = %pod.enrolment, steps = steps.len(), took = ?began.elapsed(), "Pod captured");
        let begun = steps.iter().any(|step| matches!(step, Step::Begin(_)));
        let before = known.filter(|k| k.state == State::Captured).map(|k| k.existing_connections);
        if reset_is_due(existing_connections, before, begun) {
            self.resetter.reset(&pod.name, older).await;
        }
        Ok(())
    }

    /// The descriptor of a namespace is kept once it is open: what the path names later does not matter.
    fn spec(&self, pod: &Pod) -> Result<PodSpec> {
        let path = pod.netns.clone().ok_or_else(|| {
            anyhow!("its network namespace is not known: annotate the pod with millstream.dev/netns: PATH")
        })?;
        let netns = match self.managed.get(&pod.uid) {
            Some(managed) if managed.spec.netns_path == path => managed.spec.netns.clone(),
            _ => Arc::new(Netns::open(&path).context("annotation millstream.dev/netns")?),
        };
        Ok(PodSpec {
            uid: pod.uid.clone(),
            name: pod.name.clone(),
            ips: pod.ips.clone(),
            netns_path: path,
            netns,
            when_agent_down: pod.when_agent_down,
        })
    }

    fn is_up_to_date(&self, pod: &Pod) -> bool {
        self.managed.get(&pod.uid).is_some_and(|Managed { spec, existing_connections, state }| {
            *state == State::Captured
                && Some(&spec.netns_path) == pod.netns.as_ref()
                && spec.ips == pod.ips
                && spec.when_agent_down == pod.when_agent_down
                && *existing_connections == pod.existing_connections
        })
    }

    fn note_failure(&mut self, pod: &Pod, e: &anyhow::Error) {
        let failure =
            self.failures.entry(pod.uid.clone()).or_insert(Failure { tries: 0, next: Instant::now() });
        let backoff = SWEEP.saturating_mul(1 << failure.tries.min(5)).min(LONGEST_BACKOFF);
        failure.tries += 1;
        failure.next = Instant::now() + backoff;
        let reason = format!("{e:#}");
        let phase = Phase::Failed { reason };
        if self.enroller.board.read().get(&pod.uid) != Some(&phase) {
            warn!(pod = %pod.name, uid = %pod.uid, error = %format_args!("{e:#}"), "Pod cannot be captured");
        }
        self.enroller.board.set(&pod.uid, Some(phase));
    }

    /// First phase: nothing new is captured. The second begins when [`Event::Drained`] comes.
    async fn release(&mut self, uid: &PodUid) {
        let Some(managed) = self.managed.get_mut(uid) else {
            return;
        };
        if matches!(managed.state, State::Releasing(_)) {
            return;
        }
        if let Err(e) = self.enroller.capture.end(uid).await {
            warn!(pod = %managed.spec.name, error = chain(e), "Pod goes on being captured");
            return;
        }
        self.releases += 1;
        managed.state = State::Releasing(self.releases);
        let proxy = self.enroller.listeners.0.clone();
        proxy.release(uid);
        self.enroller.board.set(uid, Some(Phase::Releasing));
        info!(pod = %managed.spec.name, uid = %uid, connections = proxy.open_connections(uid), "Pod is being released");

        let (uid, number, events) = (uid.clone(), self.releases, self.events.clone());
        let (drain, linger) = (self.enroller.release_drain, self.enroller.linger);
        tokio::spawn(async move {
            // Over or not, what is left then is ended.
            let _over = timeout(drain.max(linger), proxy.until_quiet(&uid, linger)).await;
            let _agent_ended = events.send(Event::Drained(uid, number));
        });
    }

    async fn on(&mut self, event: Event) {
        match event {
            Event::Drained(uid, number) => {
                if self.managed.get(&uid).is_some_and(|m| m.state == State::Releasing(number)) {
                    self.finish_release(&uid).await;
                }
            }
            Event::Changed(uid) => self.refresh(&uid).await,
        }
    }

    async fn finish_release(&mut self, uid: &PodUid) {
        let Some(managed) = self.managed.remove(uid) else {
            return;
        };
        match self.enroller.capture.restore(uid, &self.enroller.listeners).await {
            Ok(()) => info!(pod = %managed.spec.name, uid = %uid, "Pod released"),
            Err(e) => warn!(
                pod = %managed.spec.name,
                error = chain(e),
                "Pod released, but its namespace is not as it was; `millstream cleanup` tries again"
            ),
        }
        self.enroller.board.set(uid, None);
    }

    /// Addresses came or went: brings rules, routes and maps up to date.
    async fn refresh(&mut self, uid: &PodUid) {
        let Some(managed) = self.managed.get(uid) else {
            return;
        };
        let assigned = self.enroller.capture.assigned(uid).await.unwrap_or_default();
        if assigned.iter().all(std::net::IpAddr::is_loopback) {
            self.forget(uid, "it has no interface any more").await;
            return;
        }
        if managed.state != State::Captured {
            return;
        }
        let spec = managed.spec.clone();
        if let Err(e) = self.enroller.capture.enrol(&spec, &self.enroller.listeners).await {
            warn!(pod = %spec.name, error = chain(e), "Changed addresses of the pod could not be followed");
        }
    }

    async fn follow_addresses(&self, uid: &PodUid) {
        let Some(mut changes) = self.enroller.capture.changes(uid).await else {
            return;
        };
        let (uid, events) = (uid.clone(), self.events.clone());
        tokio::spawn(async move {
            while changes.changed().await.is_ok() && events.send(Event::Changed(uid.clone())).is_ok() {}
        });
    }

    /// Our descriptors and listeners hold a namespace alive whose end nobody announced.
    async fn forget_the_gone(&mut self) {
        let gone: Vec<PodUid> = self
            .managed
            .iter()
            .filter(|(_, m)| inode(&m.spec.netns_path) != Some(m.spec.netns.inode()))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in gone {
            self.forget(&uid, "its network namespace is gone").await;
        }
    }

    async fn forget(&mut self, uid: &PodUid, why: &str) {
        let Some(managed) = self.managed.remove(uid) else {
            return;
        };
        info!(pod = %managed.spec.name, uid = %uid, why, "Pod given up");
        if let Err(e) = self.enroller.capture.forget(uid, &self.enroller.listeners).await {
            warn!(pod = %managed.spec.name, error = chain(e), "Traces of a pod that is gone could not be removed");
        }
        let failed = Phase::Failed { reason: why.to_owned() };
        self.enroller.board.set(uid, (managed.state == State::Captured).then_some(failed));
        self.failures.insert(uid.clone(), Failure { tries: 0, next: Instant::now() + SWEEP });
    }

    async fn retry(&mut self, snapshot: &Snapshot) {
        let now = Instant::now();
        let due: Vec<PodUid> =
            self.failures.iter().filter(|(_, f)| f.next <= now).map(|(uid, _)| uid.clone()).collect();
        for uid in due {
            match snapshot.pod(&uid) {
                Some(pod) if pod.is_captured_by(&self.enroller.node) => self.enrol(pod).await,
                _ => {
                    self.failures.remove(&uid);
                    self.enroller.board.set(&uid, None);
                }
            }
        }
    }

    /// What an earlier agent captured and nobody wants captured now is undone; the rest was adopted.
    async fn settle_what_was_left(&mut self, snapshot: &Snapshot) {
        let capture = &self.enroller.capture;
        for entry in capture.left_behind() {
            let wanted = snapshot.pod(&entry.uid).is_some_and(|pod| pod.is_captured_by(&self.enroller.node));
            if self.managed.contains_key(&entry.uid) {
                continue;
            }
            // Wanted, but it could not be adopted: what is there goes on refusing until a retry succeeds.
            if wanted && inode(&entry.netns) == Some(entry.netns_inode) {
                continue;
            }
            match capture.abandon(&entry).await {
                Ok(()) => info!(pod = %entry.pod, "Pod released that an earlier agent had captured"),
                Err(e) => {
                    warn!(pod = %entry.pod, error = chain(e), "Pod of an earlier agent could not be released");
                }
            }
        }
        if let Err(e) = capture.sweep() {
            warn!(error = chain(e), "Leftovers of an earlier agent could not be removed");
        }
    }
}

fn inode(path: &PathBuf) -> Option<u64> {
    fs::metadata(path).ok().map(|m| m.ino())
}

/// The error and its causes, in one line.
fn chain(e: capture::Error) -> String {
    format!("{:#}", anyhow!(e))
}
