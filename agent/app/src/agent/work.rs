//! What only the agent does that may write.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use capture::{Capture, Pins, Programs, Pulse};
use control::{
    SourceReport,
    kubernetes::{AllocatorNotes, Client, PodLookup, StatusWriter},
};
use model::Snapshot;
use proxy::Proxy;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use tracing::info;

use super::{Options, plugin, ready};
use crate::{
    admin::Admin,
    arrivals::Arrivals,
    canary,
    config::{AllocationMode, Config, positive},
    enroller::Enroller,
    listeners::ProxyListeners,
    logging::LogFilter,
    metrics,
    pods::PhaseBoard,
    probes,
    redirection::Redirection,
    registry::Registry,
    run_dir::AgentFile,
    socket,
    tenure::{Draining, Tenure},
};

/// What it works with.
pub(super) struct Means {
    pub(super) cgroup_mount: PathBuf,
    pub(super) own_cgroup: u64,
    pub(super) files: u64,
    pub(super) client: Option<Client>,
    pub(super) lookup: Option<PodLookup>,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(super) reports: watch::Receiver<SourceReport>,
    pub(super) log: LogFilter,
}

#[derive(Debug)]
pub(super) struct Work {
    pub(super) proxy: Proxy,
    pub(super) enrolling: JoinHandle<()>,
    /// Keeps the CNI plugin in its place and answers it; serves metrics.
    pub(super) keeping: JoinSet<()>,
    /// Tells the cluster which pods are captured.
    pub(super) telling: Option<JoinHandle<()>>,
    /// Answers the command line.
    pub(super) serving: JoinHandle<()>,
    /// For how long connections may go on, once the agent is to leave nothing behind.
    pub(super) leaving: watch::Sender<Option<Duration>>,
}

/// Questions of new pods that wait for the enroller.
const QUEUE: usize = 64;

// === impl Work ===

impl Work {
    /// Takes the links, and puts its own listeners into the slots of the pods.
    pub(super) fn begin(options: &Options, config: &Config, tenure: &Tenure, means: Means) -> Result<Self> {
        let Means { cgroup_mount, own_cgroup, files, client, lookup, snapshots, reports, log } = means;
        let (run_dir, node) = (&options.run_dir, Arc::<str>::from(options.node.as_str()));
        let agent = Arc::new(agent_file(options, config, tenure, cgroup_mount)?);
        run_dir.write(&agent)?;
        let capture_config = agent.capture_config(run_dir);
        let mut programs = Programs::attach(&capture_config)?;
        programs.add_agent(own_cgroup)?;
        programs.forward_logs()?;
        let pulse = Pulse::open(&capture_config.pins)?;
        let capture = Arc::new(Capture::new(capture_config, programs)?);
        let registry = Registry { node: node.clone(), capture: capture.clone(), tenure: tenure.clone() };
        let snapshots = registry.precede(snapshots);

        let proxy_config = config.proxy(files)?;
        let connections = proxy_config.limits.connections;
        let proxy = Proxy::new(proxy_config, node.clone(), snapshots.clone())
            .context("start the threads of the proxy")?;
        // Before the first listener is in its slot: without a pulse, nobody would be steered to it.
        canary::start(&proxy, pulse, positive(config.canary.dead_after), tenure.clone())?;
        let board = PhaseBoard::new();
        let (enrolled, are_enrolled) = watch::channel(false);
        let (leaving, is_leaving) = watch::channel(None);
        let (late, are_late) = watch::channel(BTreeSet::new());
        let (arrive, arrivals) = mpsc::channel(QUEUE);
        let probes = probes::start(capture.clone(), config.probes, tenure.clone())?;
        let enroller = Enroller {
            node: node.clone(),
            capture,
            listeners: ProxyListeners(proxy.clone()),
            board: board.clone(),
            release_drain: positive(config.drain.release),
            linger: positive(config.drain.linger),
            ready: enrolled,
            tenure: tenure.clone(),
            late: config.cni.is_some().then_some(late),
            leaving: is_leaving.clone(),
        };
        let enrolling = tokio::spawn(enroller.run(snapshots.clone(), arrivals));

        let mut keeping = JoinSet::new();
        let chain = match &config.cni {
            Some(cni) => {
                let arrivals = Arrivals {
                    snapshots: snapshots.clone(),
                    lookup,
                    enroller: arrive,
                    entry: plugin::entry(cni, options),
                };
                Some(plugin::keep(cni, arrivals, &run_dir.cni_socket(), &mut keeping)?)
            }
            None => None,
        };
        let ready = ready::when(are_enrolled, chain.clone(), &mut keeping);
        if let Some(client) = client.clone().filter(|_| config.startup_taint) {
            keeping.spawn(ready::untaint(client, options.node.clone(), ready.clone()));
        }
        let (trouble, told) = watch::channel(None);
        let gives = config.dns.allocation.mode == AllocationMode::Recorded;
        let release = client.clone().zip(options.daemonset.as_ref()).filter(|_| gives);
        let allocator = release.map(|(client, release)| AllocatorNotes::new(client, release));
        let telling = client.map(|client| {
            let writer = StatusWriter::new(client, &options.node);
            let redirection = Redirection {
                node,
                writer,
                board: board.clone(),
                trouble,
                late: are_late,
                leaving: is_leaving,
            };
            tokio::spawn(redirection.run(snapshots.clone()))
        });
        let admin = Admin {
            run_dir: run_dir.clone(),
            agent,
            snapshots,
            reports,
            board,
            ready,
            chain,
            telling: told,
            allocator,
            proxy: proxy.clone(),
            probes,
            same_node: config.same_node,
            log,
            tenure: tenure.clone(),
        };
        if config.metrics.port != 0 {
            let asked = admin.clone();
            let page = Arc::new(move || metrics::page(&asked.metrics()));
            keeping.spawn(metrics::serve(config.metrics.port, page));
        }
        let serving = tokio::spawn(admin.serve(socket::bind(&run_dir.socket())?));
        info!(
            node = %options.node, pid = std::process::id(), generation = tenure.generation(), files, connections,
            "Agent started"
        );
        Ok(Self { proxy, enrolling, keeping, telling, serving, leaving })
    }

    /// Finishes what is in hand, and lets the next agent write. What is left still answers questions, until it is
    /// aborted or the process ends.
    pub(super) async fn end(mut self, tenure: &Tenure) -> (JoinHandle<()>, Draining) {
        tenure.step_down();
        self.keeping.shutdown().await;
        // It returns by itself; if it panicked, it writes no more either.
        let _ended = self.enrolling.await;
        if let Some(telling) = self.telling {
            telling.abort();
        }
        (self.serving, tenure.end())
    }
}

fn agent_file(
    options: &Options,
    config: &Config,
    tenure: &Tenure,
    cgroup_mount: PathBuf,
) -> Result<AgentFile> {
    Ok(AgentFile {
        node: options.node.clone(),
        pid: std::process::id(),
        generation: tenure.generation(),
        instance: options.instance.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        source: options.source.clone().absolute()?,
        config: options.config.as_deref().map(std::path::absolute).transpose()?,
        pins: Pins::of_node(&options.node).root().to_owned(),
        cgroup: cgroup_mount,
        steering: config.steering,
    })
}
