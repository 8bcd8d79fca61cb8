//! Build, run, drain.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use capture::{
    Capture, Programs, Pulse, canary,
    cgroup::{self, AgentCgroup},
    preflight,
};
use control::{SourceReport, kubernetes::StatusWriter};
use model::Snapshot;
use proxy::Proxy;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tracing::{info, warn};

use crate::{
    admin::{self, Admin},
    config::{Config, positive},
    descriptors,
    enroller::Enroller,
    listeners::ProxyListeners,
    logging::LogFilter,
    metrics,
    pods::PhaseBoard,
    redirection::Redirection,
    run_dir::{AgentFile, RunDir},
    source::Objects,
};

pub use control::Source;

/// What `millstream agent` was told.
#[derive(Clone, Debug)]
pub struct Options {
    pub source: Source,
    pub node: String,
    pub run_dir: RunDir,
    pub config: Option<PathBuf>,
}

/// Runs the agent until SIGTERM or SIGINT. Captured pods stay captured: the next agent adopts them, and
/// `millstream cleanup` releases them.
pub async fn run(options: Options, log: LogFilter) -> Result<()> {
    let config = options.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
    let files = descriptors::raise_limit().context("cannot raise the limit of open files (RLIMIT_NOFILE)")?;
    let proxy_config = config.proxy(files)?;
    let connections = proxy_config.limits.connections;
    let objects = Objects::of(&options.source, &config).await?;
    let run_dir = options.run_dir;
    run_dir.create()?;
    let _lock = run_dir.lock()?;
    preflight_or_say_why(&config, &run_dir).await?;

    let cgroup_mount = cgroup::mount().context("cgroup v2 is not mounted")?;
    let agent = Arc::new(AgentFile {
        node: options.node.clone(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        source: options.source.absolute()?,
        config: options.config.as_deref().map(std::path::absolute).transpose()?,
        pins: capture::Pins::of_node(&options.node).root().to_owned(),
        cgroup: cgroup_mount.clone(),
        steering: config.steering,
    });
    run_dir.write(&agent)?;

    // Before the first socket: the connect hooks know the agent by its cgroup.
    let own_cgroup = AgentCgroup::join(&cgroup_mount, &options.node)?;
    let capture_config = agent.capture_config(&run_dir);
    let mut programs = Programs::attach(&capture_config)?;
    programs.add_agent(own_cgroup.id())?;
    programs.forward_logs()?;

    let (publish, snapshots) = watch::channel(Arc::<Snapshot>::default());
    let (report, reports) = watch::channel(SourceReport::default());
    let (reload, reloads) = mpsc::channel(1);
    let client = objects.client().cloned();
    let mut source = tokio::spawn(objects.run(publish, report, reloads));

    let proxy = Proxy::new(proxy_config, options.node.as_str().into(), snapshots.clone())
        .context("start the threads of the proxy")?;
    // Before the first listener is in its slot: without a pulse, nobody would be steered to it.
    crate::canary::start(&proxy, Pulse::open(&capture_config.pins)?, positive(config.canary.dead_after))?;
    let board = PhaseBoard::new();
    let (ready, is_ready) = watch::channel(false);
    let capture = Arc::new(Capture::new(capture_config, programs)?);
    let probes = crate::probes::start(capture.clone(), config.probes)?;
    let enroller = Enroller {
        node: options.node.as_str().into(),
        capture,
        listeners: ProxyListeners(proxy.clone()),
        board: board.clone(),
        release_drain: positive(config.drain.release),
        linger: positive(config.drain.linger),
        ready,
    };
    let enrolling = tokio::spawn(enroller.run(snapshots.clone()));
    let (trouble, telling) = watch::channel(None);
    if let Some(client) = client {
        let writer = StatusWriter::new(client, &options.node);
        let redirection =
            Redirection { node: options.node.as_str().into(), writer, board: board.clone(), trouble };
        tokio::spawn(redirection.run(snapshots.clone()));
    }
    let admin = Admin {
        run_dir: run_dir.clone(),
        agent,
        snapshots,
        reports,
        board,
        ready: is_ready,
        telling,
        proxy: proxy.clone(),
        probes,
        same_node: config.same_node,
        log,
    };
    if config.metrics.port != 0 {
        let asked = admin.clone();
        let page = Arc::new(move || metrics::page(&asked.metrics()));
        tokio::spawn(metrics::serve(config.metrics.port, page));
    }
    let serving = tokio::spawn(admin.serve(admin::bind(&run_dir.socket())?));
    info!(node = %options.node, pid = std::process::id(), files, connections, "Agent started");

    let ended = tokio::select! {
        ended = until_told_to_end(&reload) => ended,
        ended = &mut source => Err(match ended {
            Ok(Ok(())) => anyhow::anyhow!("the source ended"),
            Ok(Err(e)) => e,
            Err(e) => e.into(),
        }),
    };
    enrolling.abort();
    let drained = proxy.drain(positive(config.drain.shutdown)).await;
    serving.abort();
    info!(finished = drained.finished, reset = drained.reset, "Agent ended; captured pods stay captured");
    ended
}

async fn preflight_or_say_why(config: &Config, run_dir: &RunDir) -> Result<()> {
    if let Err(e) = preflight::mount_bpffs() {
        // The inspection says what to do about it.
        info!(error = %e, "bpffs could not be mounted");
    }
    let missing: Vec<String> = preflight::inspect()
        .into_iter()
        .filter(|finding| !finding.ok)
        .map(|f| format!("{}: {}; {}", f.check, f.found, f.remedy.unwrap_or_default()))
        .collect();
    if !missing.is_empty() {
        bail!("this machine cannot run the agent:\n  {}", missing.join("\n  "));
    }
    let song = canary::sing(config.steering, &run_dir.verifier_logs()).await;
    let song = song.context("the self-test failed: nothing can be captured here")?;
    info!(connect = ?song.connect, "Self-test passed: a canary's connection arrived captured");
    if !preflight::has_tcx() {
        warn!("TCX {}", preflight::NO_TCX);
    }
    Ok(())
}

/// SIGHUP reloads; SIGTERM and SIGINT end.
async fn until_told_to_end(reload: &mpsc::Sender<()>) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => {
                // A full channel: it will look anyway.
                let _will_look = reload.try_send(());
            }
        }
    }
}
