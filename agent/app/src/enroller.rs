//! From snapshots to captured pods: enrols, releases, adopts what an earlier agent left, and gives up what is gone.
//!
//! One task does it all, so that no two changes to a pod ever overlap. What takes long (the end of a released
//! pod's connections) is waited for elsewhere and comes back as an [`Event`].

mod arrive;
mod enrol;
mod locate;
mod release;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use capture::{Capture, PodSpec};
use model::{ExistingConnections, Pod, PodUid, Snapshot};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};

use crate::{arrivals::Arrival, listeners::ProxyListeners, pods::PhaseBoard, tenure::Tenure};

/// How often namespaces are looked at whose end nobody announced, and failed pods are tried again at most.
const SWEEP: Duration = Duration::from_secs(2);

/// Of some things that change in a pod nobody is told, as of sysctls: each pod is looked at again after so many sweeps.
const SWEEPS_PER_LOOK: usize = 15;

/// After a pod has announced changes, the next are taken together.
const BREATH: Duration = Duration::from_millis(20);

/// A pod that has failed so often (for some six seconds) is named, and holds up readiness no longer.
const TRIES_BEFORE_READY: u32 = 3;

/// A pod that ends without having been deleted, as that of a Job, loses its namespace before the cluster is told of its
/// end. One that was captured is named only after so many tries (some fourteen seconds).
const TRIES_AFTER_CAPTURE: u32 = 4;

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
    /// Without it nothing is changed.
    pub tenure: Tenure,
    /// Told of pods that have started without being captured first; `None` where no plugin is to see to that.
    pub late: Option<watch::Sender<BTreeSet<PodUid>>>,
    /// For how long connections may go on, if the agent is to leave nothing behind.
    pub leaving: watch::Receiver<Option<Duration>>,
}

/// A pod in our hands.
#[derive(Debug)]
struct Managed {
    spec: PodSpec,
    existing_connections: ExistingConnections,
    state: State,
    /// Since when its changes cannot be followed.
    stumbled: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// As it was when it was tried last: one that has changed is tried at once.
    pod: Option<Arc<Pod>>,
    was_captured: bool,
}

#[derive(Debug)]
enum Event {
    /// The last captured connection of a released pod has ended, or its time is over.
    Drained(PodUid, u64),
    /// Addresses, links or rules in the pod's namespace have changed.
    Changed(PodUid),
}

/// The loop's own state.
struct Work {
    enroller: Enroller,
    managed: HashMap<PodUid, Managed>,
    failures: HashMap<PodUid, Failure>,
    /// Pods that the CNI plugin has told of, and that the snapshots do not show as they are yet.
    arrived: HashMap<PodUid, Arc<Pod>>,
    /// Pods of which nobody expects that they were captured before they started: the plugin has told of them, or no
    /// label asked for it.
    excused: HashSet<PodUid>,
    releases: u64,
    sweeps: usize,
    /// What is done seldom has been done: the start, or an enrolment.
    has_worked: bool,
    events: mpsc::UnboundedSender<Event>,
}

// === impl Failure ===

impl Failure {
    /// Of a pod that was never captured.
    fn first() -> Self {
        Self { tries: 0, next: Instant::now(), pod: None, was_captured: false }
    }

    /// Of one that was, until now.
    fn of_captured() -> Self {
        Self { next: Instant::now() + SWEEP, was_captured: true, ..Self::first() }
    }
}

// === impl Enroller ===

impl Enroller {
    /// Works until nobody publishes snapshots any more, or another agent is to write.
    pub async fn run(
        self,
        mut snapshots: watch::Receiver<Arc<Snapshot>>,
        mut arrivals: mpsc::Receiver<Arrival>,
    ) {
        let (events, mut incoming) = mpsc::unbounded_channel();
        let mut work = Work {
            enroller: self,
            managed: HashMap::new(),
            failures: HashMap::new(),
            arrived: HashMap::new(),
            excused: HashSet::new(),
            releases: 0,
            sweeps: 0,
            has_worked: true,
            events,
        };
        // The first snapshot is empty: nothing may be concluded from it.
        let tenure = work.enroller.tenure.clone();
        let mut leaving = work.enroller.leaving.clone();
        tokio::select! {
            known = snapshots.wait_for(|s| s.version > 0) => if known.is_err() { return },
            () = tenure.until_lost() => return,
        }
        let snapshot = snapshots.borrow_and_update().clone();
        work.recall(&snapshot);
        work.follow(&snapshot).await;
        let mut is_settled = work.settle_what_was_left(&snapshot).await;

        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while tenure.holds() {
            work.note_readiness();
            tokio::select! {
                () = tenure.until_lost() => return,
                Ok(()) = leaving.changed() => break,
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let snapshot = snapshots.borrow_and_update().clone();
                    work.follow(&snapshot).await;
                }
                Some(event) = incoming.recv() => work.on(event).await,
                Some(arrival) = arrivals.recv() => work.welcome(arrival).await,
                _ = sweep.tick() => {
                    let snapshot = snapshots.borrow().clone();
                    work.forget_the_gone().await;
                    work.retry(&snapshot).await;
                    work.look_again().await;
                    work.rest();
                    if !is_settled {
                        is_settled = work.settle_what_was_left(&snapshot).await;
                    }
                }
            }
        }
        let drain = *leaving.borrow();
        if let Some(drain) = drain {
            work.leave(drain, &mut incoming).await;
        }
    }
}

// === impl Work ===

impl Work {
    /// Brings every pod of the node to where the snapshot wants it.
    async fn follow(&mut self, snapshot: &Snapshot) {
        self.forget_shown(snapshot);
        self.excuse(snapshot);
        let pods = self.wanted(snapshot);
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
        let is_stale = |pod: &Arc<Pod>| !self.is_up_to_date(pod) && self.is_due(pod);
        let stale: Vec<_> = pods.into_iter().filter(is_stale).collect();
        let whereabouts = self.locate(&stale).await;
        for pod in &stale {
            if !self.enroller.tenure.holds() {
                return;
            }
            self.enrol(pod, &whereabouts).await;
        }
        // Once all are captured: this takes the kernel longer than the rest, and is about less.
        for pod in stale {
            self.back_up(&pod.uid).await;
        }
    }

    /// Those that the snapshot shows, in name order, and those that have just arrived.
    fn wanted(&self, snapshot: &Snapshot) -> Vec<Arc<Pod>> {
        let shown = snapshot.pods_on(&self.enroller.node).into_iter().filter(|pod| pod.is_enrolled());
        shown.chain(self.arrived.values()).cloned().collect()
    }

    /// Ready once, and then for good: what fails later is told as it is.
    fn note_readiness(&self) {
        let is_settled = self.failures.values().all(|failure| failure.tries >= TRIES_BEFORE_READY);
        self.enroller.ready.send_if_modified(|ready| !mem::replace(ready, *ready || is_settled) && *ready);
    }

    /// Code that will hardly run again soon need not stay in memory.
    fn rest(&mut self) {
        if mem::take(&mut self.has_worked) {
            memory::give_back_program();
        }
    }

    /// A share of the pods at each sweep.
    async fn look_again(&mut self) {
        self.sweeps += 1;
        let mut uids: Vec<PodUid> = self.managed.keys().cloned().collect();
        uids.sort();
        for uid in uids.into_iter().skip(self.sweeps % SWEEPS_PER_LOOK).step_by(SWEEPS_PER_LOOK) {
            self.refresh(&uid).await;
        }
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
}

/// The error and its causes, in one line.
fn chain(e: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow!(e))
}
