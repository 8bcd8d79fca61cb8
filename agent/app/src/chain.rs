//! Keeps the CNI plugin in the node's chain, whoever rewrites it.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use cni::install::{Install, Malformed, Report, State};
use control::FolderWatcher;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tracing::{debug, info, warn};

mod dispute;
mod rival;

use self::dispute::Dispute;

/// In case the watch missed something: a link's target that changed elsewhere, an exhausted inotify limit.
const RESCAN: Duration = Duration::from_secs(30);

/// The plugin's place on this node.
#[derive(Clone, Debug)]
pub struct Chain {
    pub install: Install,
}

/// How it is with the plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainState {
    /// `None`: nobody has looked yet.
    pub state: Option<State>,
    /// Left alone.
    pub malformed: Vec<Malformed>,
    /// How often somebody had to be put right since the agent started.
    pub repairs: u64,
    pub dispute: Option<Rewritten>,
}

/// Somebody rewrites the chain again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    pub file: PathBuf,
    /// How often in a row.
    pub times: u32,
    /// Who it probably is, and how to stop it.
    pub rival: String,
}

// === impl Chain ===

impl Chain {
    /// Installs now and again after each change, until nobody receives states any more.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time; what is being written is finished. To remove the plugin, end this first.
    pub async fn keep(self, states: watch::Sender<ChainState>) {
        let mut watcher = FolderWatcher::new("the CNI configuration");
        let mut rescan = interval(RESCAN);
        rescan.set_missed_tick_behavior(MissedTickBehavior::Delay);
        rescan.reset();
        let mut dispute = Dispute::default();
        let mut was_installed = false;
        loop {
            // Before it is looked at, so that no change falls between; each time, for the folder may be another by now.
            for dir in [&self.install.conf_dir, &self.install.bin_dir] {
                follow(&mut watcher, dir);
            }
            let Some(report) = self.look().await else {
                return;
            };
            let installed = matches!(report.state, State::Installed { .. });
            // Once it was: a rival may be caught with half a file, or none.
            let repaired = was_installed && installed && report.changed;
            was_installed |= installed;
            let pause = dispute.after(repaired, Instant::now());
            tell(&states, report, repaired, &dispute);
            tokio::select! {
                () = states.closed() => return,
                // Nobody wins a race against a rival that never rests, and the node's disk loses it.
                () = sleep(pause) => {}
            }
            tokio::select! {
                () = states.closed() => return,
                () = watcher.changed() => debug!("CNI directories changed"),
                _ = rescan.tick() => {}
            }
        }
    }

    /// `None`: the runtime is shutting down.
    async fn look(&self) -> Option<Report> {
        let install = self.install.clone();
        spawn_blocking(move || install.install()).await.ok()
    }
}

/// The folder itself, or where it will appear.
fn follow(watcher: &mut FolderWatcher, dir: &Path) {
    for folder in dir.ancestors() {
        if !folder.is_dir() {
            continue;
        }
        watcher.follow(folder);
        // It may have appeared just before its parent was followed: then from the top again.
        if folder == dir || !dir.is_dir() {
            return;
        }
        return watcher.follow(dir);
    }
}

fn tell(states: &watch::Sender<ChainState>, report: Report, repaired: bool, dispute: &Dispute) {
    let Report { state, malformed, changed: _, others } = report;
    let before = states.borrow().clone();
    let rewritten = match &state {
        State::Installed { file } if dispute.is_on() => {
            Some(Rewritten { file: file.clone(), times: dispute.times(), rival: rival::of(&others, file) })
        }
        State::Installed { .. } | State::Waiting { .. } | State::Failed { .. } => None,
    };
    if before.state.as_ref() != Some(&state) {
        match &state {
            State::Installed { .. } | State::Waiting { .. } => info!("CNI: {state}"),
            State::Failed { .. } => warn!("CNI: {state}"),
        }
    } else if repaired {
        info!("CNI: {state}, again: somebody had changed it");
    }
    for file in malformed.iter().filter(|file| !before.malformed.contains(file)) {
        warn!("CNI: {file}");
    }
    if let Some(rewritten) = rewritten.as_ref().filter(|_| repaired) {
        warn!("CNI: {rewritten}");
    }
    states.send_if_modified(|now| {
        let repairs = now.repairs + u64::from(repaired);
        let next = ChainState { state: Some(state), malformed, repairs, dispute: rewritten };
        let modified = *now != next;
        *now = next;
        modified
    });
}

// === impl ChainState ===

impl ChainState {
    /// What is not as it should be, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let failed = self.state.iter().filter(|state| matches!(state, State::Failed { .. }));
        let sentences = failed.map(ToString::to_string).chain(self.malformed.iter().map(ToString::to_string));
        sentences
            .chain(self.dispute.iter().map(ToString::to_string))
            .map(|text| format!("CNI: {text}"))
            .collect()
    }
}

// === impl Rewritten ===

impl fmt::Display for Rewritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, times, rival } = self;
        write!(
            f,
            "somebody takes the plugin out of {} again and again ({times} times in a row). {rival}",
            file.display()
        )
    }
}

#[cfg(test)]
mod tests;
