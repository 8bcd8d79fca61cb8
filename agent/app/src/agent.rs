//! Build, run, step down, drain.

use std::{path::PathBuf, pin::pin, sync::Arc};

use anyhow::{Context, Result, anyhow, bail};
use capture::{
    canary,
    cgroup::{self, AgentCgroup},
    preflight,
};
use control::SourceReport;
use model::{ObjectName, Snapshot};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinError,
};
use tracing::{info, warn};

use crate::{
    config::{Config, positive},
    descriptors,
    logging::LogFilter,
    run_dir::RunDir,
    source::Objects,
    tenure::{self, Tenure},
};

mod defer;
mod home;
mod leave;
mod plugin;
mod ready;
mod retire;
mod work;

use self::{
    home::Home,
    retire::{hand_over, retire},
    work::{Means, Work},
};

pub use control::Source;

/// What `millstream agent` was told.
#[derive(Clone, Debug)]
pub struct Options {
    pub source: Source,
    pub node: String,
    pub run_dir: RunDir,
    pub config: Option<PathBuf>,
    /// The DaemonSet that it runs in. When that is gone, an agent that is told to end leaves nothing behind.
    pub daemonset: Option<ObjectName>,
    /// Which of its pods this is.
    pub instance: Option<String>,
    /// How often it has crashed in a row.
    pub crashes: u32,
}

/// Why an agent ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// SIGTERM or SIGINT.
    Told,
    /// A newer agent had taken the node over, and is gone: this one is to begin anew.
    Recalled,
}

/// Runs the agent until SIGTERM or SIGINT. Captured pods stay captured: the next agent adopts them, and
/// `millstream cleanup` releases them.
pub async fn run(options: Options, log: LogFilter) -> Result<Ended> {
    let config = options.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
    let files = descriptors::raise_limit().context("cannot raise the limit of open files (RLIMIT_NOFILE)")?;
    let objects = Objects::of(&options.source, &config).await?;
    options.run_dir.create()?;
    preflight_or_say_why(&config, &options.run_dir).await?;
    let cgroup_mount = cgroup::mount().context("cgroup v2 is not mounted")?;
    // Before the first socket: the connect hooks know the agent by its cgroup.
    let own_cgroup = AgentCgroup::join(&cgroup_mount, &options.node)?;

    let (publish, snapshots) = watch::channel(Arc::<Snapshot>::default());
    let (report, reports) = watch::channel(SourceReport::default());
    let (reload, reloads) = mpsc::channel(1);
    let (client, lookup) = (objects.client().cloned(), objects.lookup());
    let mut source = tokio::spawn(objects.run(publish, report, reloads));
    let mut told = pin!(until_told_to_end(&reload));

    let tenure = tokio::select! {
        ended = &mut told => return ended.map(|()| Ended::Told),
        ended = &mut source => return Err(source_ended(ended)),
        tenure = succeed(&options, snapshots.clone()) => tenure?,
    };
    let home = client.clone().zip(options.daemonset.clone()).map(|(client, name)| Home::follow(client, name));
    let means =
        Means { cgroup_mount, own_cgroup: own_cgroup.id(), files, client, lookup, snapshots, reports, log };
    let work = Work::begin(&options, &config, &tenure, means)?;
    let proxy = work.proxy.clone();

    let ended = tokio::select! {
        ended = &mut told => Some(ended),
        ended = &mut source => Some(Err(source_ended(ended))),
        () = tenure.until_lost() => None,
    };
    let is_told = matches!(ended, Some(Ok(())));
    if is_told
        && let Some(home) = home
        && home.is_gone().await
    {
        return work.leave(&options, &config, &tenure).await.map(|()| Ended::Told);
    }
    let (serving, _draining) = work.end(&tenure).await;
    let ended = match ended {
        Some(ended) => {
            if is_told && options.daemonset.is_some() {
                hand_over(&options.run_dir, &proxy).await;
            }
            ended.map(|()| Ended::Told)
        }
        None => {
            serving.abort();
            info!(
                "A newer agent works on this node: connections that are open here are served until they end"
            );
            tokio::select! {
                ended = &mut told => ended.map(|()| Ended::Told),
                () = retire(&options.run_dir, &proxy) => Ok(Ended::Recalled),
            }
        }
    };
    let drained = proxy.drain(positive(config.drain.shutdown)).await;
    serving.abort();
    info!(finished = drained.finished, reset = drained.reset, "Agent ended; captured pods stay captured");
    ended
}

/// Becomes the writer of the node. An agent that is there goes on until this one knows the cluster as well.
async fn succeed(options: &Options, mut snapshots: watch::Receiver<Arc<Snapshot>>) -> Result<Tenure> {
    if tenure::is_held(&options.run_dir.lock_file()) {
        info!("Another agent works on this node: it goes on until this one knows the cluster");
        snapshots.wait_for(|snapshot| snapshot.version > 0).await.context("the source ended")?;
        if let Some(pause) = defer::pause(options.crashes) {
            warn!(
                crashes = options.crashes,
                ?pause,
                "This agent keeps crashing: the other is left alone for a while"
            );
            defer::until_free(&options.run_dir.lock_file(), pause).await;
        }
    }
    Tenure::take(&options.run_dir, &options.node).await
}

fn source_ended<E: Into<anyhow::Error>>(ended: Result<Result<(), E>, JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow!("the source ended"),
        Ok(Err(e)) => e.into(),
        Err(e) => e.into(),
    }
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
