//! Letting go: of pods that are not wanted any more, of those that are gone, and of what an earlier agent left.

use std::{fs, os::unix::fs::MetadataExt, path::Path, time::Duration};

use model::{PodUid, Snapshot};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{Event, Failure, SWEEP, State, Work, chain};
use crate::pods::Phase;

impl Work {
    /// First phase: nothing new is captured. The second begins when [`Event::Drained`] comes.
    pub(super) async fn release(&mut self, uid: &PodUid) {
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

    /// Lets go of every pod; connections may go on for so long.
    pub(super) async fn leave(&mut self, drain: Duration, incoming: &mut mpsc::UnboundedReceiver<Event>) {
        self.enroller.release_drain = drain;
        let uids: Vec<PodUid> = self.managed.keys().cloned().collect();
        for uid in uids {
            self.release(&uid).await;
            // One that was being released already has the time that it had before.
            self.hurry(&uid, drain);
        }
        while !self.managed.is_empty()
            && let Some(event) = incoming.recv().await
        {
            self.on(event).await;
        }
    }

    fn hurry(&self, uid: &PodUid, drain: Duration) {
        let Some(State::Releasing(number)) = self.managed.get(uid).map(|managed| managed.state) else {
            return;
        };
        let (uid, events) = (uid.clone(), self.events.clone());
        tokio::spawn(async move {
            sleep(drain).await;
            let _done_already = events.send(Event::Drained(uid, number));
        });
    }

    pub(super) async fn finish_release(&mut self, uid: &PodUid) {
        if self.enroller.tenure.is_predecessor_draining() {
            // Connections of the agent before may need what would be undone.
            self.finish_later(uid);
            return;
        }
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

    fn finish_later(&self, uid: &PodUid) {
        let Some(State::Releasing(number)) = self.managed.get(uid).map(|managed| managed.state) else {
            return;
        };
        let (uid, events) = (uid.clone(), self.events.clone());
        tokio::spawn(async move {
            sleep(SWEEP).await;
            let _agent_ended = events.send(Event::Drained(uid, number));
        });
    }

    /// Our descriptors and listeners hold a namespace alive whose end nobody announced.
    pub(super) async fn forget_the_gone(&mut self) {
        self.arrived.retain(|_, pod| pod.netns.as_deref().is_some_and(Path::exists));
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

    pub(super) async fn forget(&mut self, uid: &PodUid, why: &str) {
        self.arrived.remove(uid);
        let Some(managed) = self.managed.remove(uid) else {
            return;
        };
        info!(pod = %managed.spec.name, uid = %uid, why, "Pod given up");
        if let Err(e) = self.enroller.capture.forget(uid, &self.enroller.listeners).await {
            warn!(pod = %managed.spec.name, error = chain(e), "Traces of a pod that is gone could not be removed");
        }
        self.enroller.board.set(uid, None);
        // It ends, or the runtime gives it another namespace.
        self.failures.insert(uid.clone(), Failure::of_captured());
    }

    /// What an earlier agent captured and nobody wants captured now is undone; the rest was adopted. `false`: not yet,
    /// for that agent still has connections.
    pub(super) async fn settle_what_was_left(&mut self, snapshot: &Snapshot) -> bool {
        let tenure = &self.enroller.tenure;
        if !tenure.holds() || tenure.is_predecessor_draining() {
            return false;
        }
        let capture = &self.enroller.capture;
        for entry in capture.left_behind() {
            let wanted = self.arrived.contains_key(&entry.uid)
                || snapshot.pod(&entry.uid).is_some_and(|pod| pod.is_captured_by(&self.enroller.node));
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
        true
    }
}

pub(super) fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|m| m.ino())
}
