//! The same answers without an agent, from what it left: `agent.json`, the journal, the pins, and the source.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use capture::{Life, Pins, Pulse, journal::Journal, maps::Maps};
use control::{Source, SourceReport};
use model::Snapshot;
use route::SameNode;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    answers,
    api::{AgentState, AllocationRow, ListenerRow, PodRow, ServiceRow, Status, Why},
    config::Config,
    neighbours, older,
    pods::{Phase, Phases},
    run_dir::{AgentFile, RunDir},
    source::Objects,
    stopped, why,
};

/// For an API server; a folder is read at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be known of a node whose agent is down.
#[derive(Debug)]
pub struct Offline {
    run_dir: RunDir,
    agent: AgentFile,
    snapshot: Arc<Snapshot>,
    report: SourceReport,
    /// Why nothing is known of the cluster.
    unread: Option<String>,
    phases: Phases,
    /// Its listeners are open, but it counts as dead, for this long.
    silent: Option<Duration>,
    same_node: SameNode,
}

// === impl Offline ===

impl Offline {
    pub async fn open(run_dir: &RunDir) -> Result<Self> {
        let agent = run_dir.read()?;
        let config = agent.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read);
        let (config, (snapshot, report, unread)) = match config {
            Ok(config) => {
                let read = read_once(&agent.source, &config).await?;
                (config, read)
            }
            // It may be in the agent's container alone. By another, pods would be told to be what they are not.
            Err(error) => {
                let unread =
                    format!("nothing is known of the cluster: {error:#}; ask in the agent's container");
                (Config::default(), (Arc::default(), SourceReport::default(), Some(unread)))
            }
        };
        let phases = phases(run_dir, &agent);
        let silent = silent_with_listeners(&Pins::of_node(&agent.node));
        let same_node = config.same_node;
        Ok(Self { run_dir: run_dir.clone(), agent, snapshot, report, unread, phases, silent, same_node })
    }

    pub fn status(&self) -> Status {
        Status {
            node: self.agent.node.clone(),
            agent: if self.silent.is_some() { AgentState::Stuck } else { AgentState::Down },
            pid: self.silent.map(|_| self.agent.pid),
            generation: self.agent.generation,
            version: self.agent.version.clone(),
            source: self.agent.source.to_string(),
            ready: false,
            snapshot: 0,
            pods: answers::count(&self.rows()),
            connections: 0,
            cni: None,
            probes: None,
            ended: Vec::new(),
            refused: self.report.refusals.iter().map(ToString::to_string).collect(),
            refusals: self.report.refusals.clone(),
            troubles: self.report.troubles.clone(),
            uncapturable: Vec::new(),
            problems: self.problems(),
        }
    }

    fn problems(&self) -> Vec<String> {
        let down = match self.silent {
            None => {
                "the agent is down: captured pods refuse new connections, or go direct if open".to_owned()
            }
            Some(silent) => format!(
                "the agent has been stuck for {} s (its proxy does not answer the canary) and counts as dead: \
                     captured pods refuse new connections, or go direct if open; it comes back by itself when it is \
                     continued (is its process stopped? kill -CONT {pid}), else restart it",
                silent.as_secs(),
                pid = self.agent.pid
            ),
        };
        [down].into_iter().chain(self.unread.clone()).collect()
    }

    pub async fn pods(&self) -> Vec<PodRow> {
        let collisions = neighbours::collisions_of_pods(&self.run_dir, &self.agent).await;
        let rows = answers::with_collisions(self.rows(), &collisions);
        let rows = answers::with_older(rows, &older::counts(&self.run_dir, &self.agent).await);
        answers::with_stopped(rows, &stopped::counts(&self.run_dir, &self.agent))
    }

    fn rows(&self) -> Vec<PodRow> {
        answers::pods(&self.snapshot, &self.agent.node, &self.phases, |_| 0)
    }

    pub fn services(&self) -> Vec<ServiceRow> {
        answers::services(&self.snapshot)
    }

    pub fn allocations(&self) -> Vec<AllocationRow> {
        answers::allocations(&self.snapshot)
    }

    pub fn listeners(&self) -> Vec<ListenerRow> {
        answers::listeners(&self.snapshot)
    }

    pub async fn why(&self, pod: &str, destination: &str) -> Result<Why> {
        let pod = why::find_pod(&self.snapshot, pod).map_err(|e| anyhow!(e))?;
        let destination = why::find_destination(&self.snapshot, pod, destination).map_err(|e| anyhow!(e))?;
        let kernel = why::Kernel::look(&self.run_dir, &self.agent, &pod.uid).await?;
        let phase = self.phases.get(&pod.uid);
        let node = &self.agent.node;
        let (snapshot, same_node) = (&*self.snapshot, self.same_node);
        Ok(why::explain(&why::Facts { node, snapshot, same_node, pod, destination, phase, kernel }))
    }
}

/// One reading of the source, and why there is none of an API server that does not answer.
async fn read_once(
    source: &Source,
    config: &Config,
) -> Result<(Arc<Snapshot>, SourceReport, Option<String>)> {
    let (publish, mut snapshots) = watch::channel(Arc::<Snapshot>::default());
    let (report, reports) = watch::channel(SourceReport::default());
    let (_reload, reload) = mpsc::channel(1);
    let reading = match Objects::of(source, config).await {
        Ok(objects) => tokio::spawn(objects.run(publish, report, reload)),
        Err(e) if matches!(source, Source::Kubernetes { .. }) => {
            return Ok((Arc::default(), SourceReport::default(), Some(format!("{e:#}"))));
        }
        Err(e) => return Err(e),
    };
    let read = timeout(PATIENCE, snapshots.wait_for(|s| s.version > 0)).await;
    let (snapshot, unread) = match read {
        Ok(Ok(snapshot)) => (snapshot.clone(), None),
        Err(_) => {
            let troubles: Vec<_> = reports.borrow().troubles.iter().map(ToString::to_string).collect();
            (Arc::default(), Some(format!("nothing is known of the cluster: {}", troubles.join("; "))))
        }
        Ok(Err(_)) => {
            // The source gave up, and says why.
            reading.await.context("reading the source")??;
            return Err(anyhow!("nothing was read from {source}"));
        }
    };
    reading.abort();
    let report = reports.borrow().clone();
    Ok((snapshot, report, unread))
}

fn silent_with_listeners(pins: &Pins) -> Option<Duration> {
    let Life::Silent(silent) = Pulse::open(pins).ok()?.life().ok()? else {
        return None;
    };
    let listeners = Maps::open(pins).ok()?.listeners().ok()?;
    (!listeners.is_empty()).then_some(silent)
}

/// What the journal and the maps say of each pod. Without maps nothing is captured.
fn phases(run_dir: &RunDir, agent: &AgentFile) -> Phases {
    let (entries, _) = Journal::new(&run_dir.journal()).all();
    let maps = Maps::open(&Pins::of_node(&agent.node)).ok();
    let phase = |cookie| match maps.as_ref().and_then(|maps| maps.pod(cookie).ok().flatten()) {
        Some(_) => Phase::Captured,
        None => Phase::Releasing,
    };
    Arc::new(entries.into_iter().map(|entry| (entry.uid, phase(entry.netns_cookie))).collect())
}
