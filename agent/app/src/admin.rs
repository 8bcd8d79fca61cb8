//! The admin socket: one JSON request a line, one JSON reply a line. Root alone may connect (mode 0600).

use std::{io, sync::Arc, time::Duration};

use control::{Source, SourceReport, kubernetes::AllocatorNotes};
use model::Snapshot;
use proxy::Proxy;
use route::SameNode;
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::watch,
    time::timeout,
};

use crate::{
    answers,
    api::{AgentState, Condition, Ended, PodRow, PodState, Reply, Request, Status, Waited},
    chain::ChainState,
    logging::LogFilter,
    metrics, neighbours, older,
    pods::PhaseBoard,
    probes::Probing,
    run_dir::{AgentFile, RunDir},
    socket, stopped,
    tenure::Tenure,
    why,
};

/// A request is a few words; whoever sends more is not our command line.
const LONGEST_REQUEST: u64 = 64 * 1024;

/// What answers are made from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    pub run_dir: RunDir,
    pub agent: Arc<AgentFile>,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub reports: watch::Receiver<SourceReport>,
    pub board: PhaseBoard,
    pub ready: watch::Receiver<bool>,
    /// The CNI plugin's place in the chain; `None`: it is not wanted.
    pub chain: Option<watch::Receiver<ChainState>>,
    /// Why the cluster cannot be told which pods are captured.
    pub telling: watch::Receiver<Option<String>>,
    /// What the controller says that gives hosts addresses, where one is to do so.
    pub allocator: Option<AllocatorNotes>,
    pub proxy: Proxy,
    pub probes: watch::Receiver<Probing>,
    pub same_node: SameNode,
    pub log: LogFilter,
    pub tenure: Tenure,
}

// === impl Admin ===

impl Admin {
    pub async fn serve(self, listener: UnixListener) {
        let converse = |stream| {
            let admin = self.clone();
            async move { admin.converse(stream).await }
        };
        socket::serve(listener, "admin", converse).await;
    }

    async fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        BufReader::new(read.take(LONGEST_REQUEST)).read_line(&mut line).await?;
        let reply = match serde_json::from_str::<Request>(&line) {
            Ok(request) => self.answer(request).await,
            Err(e) => Err(format!("the request cannot be read ({e}): are agent and command of one version?")),
        };
        let mut reply = serde_json::to_vec(&reply)?;
        reply.push(b'\n');
        write.write_all(&reply).await
    }

    async fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Status => json(&self.status().await),
            Request::Pods => {
                let older = older::counts(&self.run_dir, &self.agent).await;
                let stopped = stopped::counts(&self.run_dir, &self.agent);
                let rows = answers::with_older(self.pods_and_collisions().await, &older);
                json(&answers::with_stopped(rows, &stopped))
            }
            Request::Services => json(&answers::services(&self.snapshot())),
            Request::Listeners => json(&answers::listeners(&self.snapshot())),
            Request::Allocations => json(&answers::allocations(&self.snapshot())),
            Request::Allocator => json(&match &self.allocator {
                Some(notes) => notes.read().await?,
                None => None,
            }),
            Request::Connections => json(&answers::connections(self.proxy.connections())),
            Request::Why { pod, destination } => self.why(&pod, &destination).await,
            Request::Log { filter } => {
                self.log.set(&filter).map_err(|e| format!("{e:#}"))?;
                json(&filter)
            }
            Request::Wait { condition, timeout: patience } => json(&self.wait(&condition, patience).await),
            Request::StepDown => {
                self.tenure.step_down();
                json(&())
            }
        }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    fn pods(&self) -> Vec<PodRow> {
        let open = |uid: &model::PodUid| self.proxy.open_connections(uid);
        let rows = answers::pods(&self.snapshot(), &self.agent.node, &self.board.read(), open);
        answers::with_refused(rows, &self.proxy.refused())
    }

    async fn pods_and_collisions(&self) -> Vec<PodRow> {
        let collisions = neighbours::collisions_of_pods(&self.run_dir, &self.agent).await;
        answers::with_collisions(self.pods(), &collisions)
    }

    async fn status(&self) -> Status {
        let rows = self.pods_and_collisions().await;
        let SourceReport { refusals, troubles } = self.reports.borrow().clone();
        let ready = *self.ready.borrow();
        let mut problems = answers::problems(&rows);
        if !ready {
            let why = if self.snapshot().version == 0 {
                "the first snapshot is not complete"
            } else {
                "not all of its pods are captured"
            };
            problems.push(format!("not ready: {why} yet"));
        }
        let chain = self.chain.as_ref().map(|chain| chain.borrow().clone());
        problems.extend(chain.iter().flat_map(ChainState::problems));
        problems.extend(self.telling.borrow().clone());
        problems.extend(troubles.iter().map(ToString::to_string));
        problems.extend(answers::refusals(&self.proxy.refused()));
        let ended = self.proxy.reasons().into_iter().filter(|(_, connections)| *connections > 0);
        Status {
            node: self.agent.node.clone(),
            agent: AgentState::Running,
            pid: Some(self.agent.pid),
            generation: self.agent.generation,
            version: self.agent.version.clone(),
            source: self.agent.source.to_string(),
            ready,
            snapshot: self.snapshot().version,
            pods: answers::count(&rows),
            connections: self.proxy.connection_count(),
            cni: chain.and_then(|chain| Some(chain.state?.to_string())),
            probes: self.probes.borrow().sentence(matches!(self.agent.source, Source::Kubernetes { .. })),
            ended: ended
                .map(|(reason, connections)| Ended { reason: answers::word(&reason), connections })
                .collect(),
            uncapturable: answers::uncapturable(&self.snapshot(), &self.agent.node),
            refused: refusals.iter().map(ToString::to_string).collect(),
            refusals,
            troubles,
            problems,
        }
    }

    pub(crate) fn metrics(&self) -> metrics::Facts {
        let (snapshot, phases) = (self.snapshot(), self.board.read());
        let (node, SourceReport { refusals, troubles }) = (&self.agent.node, self.reports.borrow().clone());
        let uncaptured = answers::uncaptured(&snapshot, node, &phases);
        metrics::Facts {
            version: self.agent.version.clone(),
            ready: *self.ready.borrow(),
            states: self.pods().iter().map(|row| row.state).collect(),
            uncaptured: uncaptured.into_iter().map(|(name, cause)| (name.clone(), cause)).collect(),
            open: self.proxy.connection_count(),
            ended: self.proxy.reasons(),
            queries: self.proxy.queries(),
            refusals: refusals.len(),
            troubles: troubles.into_iter().map(|trouble| trouble.watch).collect(),
        }
    }

    async fn why(&self, pod: &str, destination: &str) -> Reply {
        let snapshot = self.snapshot();
        let pod = why::find_pod(&snapshot, pod)?;
        let destination = why::find_destination(&snapshot, pod, destination)?;
        let kernel = why::Kernel::look(&self.run_dir, &self.agent, &pod.uid)
            .await
            .map_err(|e| format!("{:#}", anyhow::Error::from(e)))?;
        let phases = self.board.read();
        let facts = why::Facts {
            node: &self.agent.node,
            snapshot: &snapshot,
            same_node: self.same_node,
            pod,
            destination,
            phase: phases.get(&pod.uid),
            kernel,
        };
        json(&why::explain(&facts))
    }

    /// Answers as soon as the condition is true, or when the time is over.
    async fn wait(&self, condition: &Condition, patience: Duration) -> Waited {
        let mut ready = self.ready.clone();
        let mut phases = self.board.watch();
        let mut snapshots = self.snapshots.clone();
        let met = timeout(patience, async {
            while !self.is_met(condition) {
                // An error: the agent is ending, and the time will run out.
                let changed = async {
                    tokio::select! {
                        r = ready.changed() => r,
                        r = phases.changed() => r,
                        r = snapshots.changed() => r,
                    }
                };
                if changed.await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        });
        let met = met.await.is_ok();
        Waited { met, found: self.found(condition) }
    }

    fn is_met(&self, condition: &Condition) -> bool {
        if !*self.ready.borrow() {
            return false;
        }
        match condition {
            Condition::Ready => true,
            Condition::ReadyIn(instance) => self.agent.instance.as_ref() == Some(instance),
            Condition::Captured(pod) => self.state(pod) == Some(PodState::Captured),
            Condition::Released(pod) => matches!(self.state(pod), None | Some(PodState::NotEnrolled)),
        }
    }

    fn state(&self, pod: &str) -> Option<PodState> {
        self.row(pod).map(|row| row.state)
    }

    fn row(&self, pod: &str) -> Option<PodRow> {
        self.pods().into_iter().find(|row| format!("{}/{}", row.namespace, row.name) == pod)
    }

    fn found(&self, condition: &Condition) -> String {
        match condition {
            Condition::ReadyIn(instance) if self.agent.instance.as_ref() != Some(instance) => {
                format!("the agent of another pod (PID {}) works on this node", self.agent.pid)
            }
            Condition::Ready | Condition::ReadyIn(_) if *self.ready.borrow() => {
                "the agent is ready".to_owned()
            }
            Condition::Ready | Condition::ReadyIn(_) => {
                let troubles = &self.reports.borrow().troubles;
                let why = troubles.iter().find(|trouble| trouble.error.is_some()).or(troubles.first());
                why.map_or_else(
                    || "the agent is not ready".to_owned(),
                    |trouble| format!("the agent is not ready: {trouble}"),
                )
            }
            Condition::Captured(pod) | Condition::Released(pod) => match self.row(pod) {
                None => format!("pod {pod} is not known on node {}", self.agent.node),
                Some(row) => format!("pod {pod} is {}: {}", answers::word(&row.state), row.because),
            },
        }
    }
}

fn json(answer: &impl Serialize) -> Reply {
    serde_json::to_value(answer).map_err(|e| format!("the answer cannot be written: {e}"))
}
