//! How soon the mesh follows: a label, a new pod, forty of them while it is replaced, and a chain that somebody overwrote.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cluster::IMAGE;
use jiff::Timestamp;

use crate::stage::{IN_NAMESPACE, Stage};

const ROUNDS: usize = 5;
/// Of forty pods each.
const FORTIES: usize = 3;
/// New connections a second: as finely the first captured one is told.
const RATE: &str = "200";
const PATIENCE: Duration = Duration::from_secs(20);

/// Medians.
pub(crate) struct Delays {
    /// From when `kubectl label` has returned to the end of the first connection that was captured: not more than
    /// nothing where that was sooner.
    pub(crate) label: Duration,
    /// The same, from when it was started.
    pub(crate) label_and_kubectl: Duration,
    /// From `kubectl create` to `kubectl wait` for a new pod: not captured, and captured.
    pub(crate) pod: [Duration; 2],
    /// From `kubectl apply` until the last of forty captured pods is ready: agents that stay, and agents that begin to be
    /// replaced at the same time.
    pub(crate) forty: [Duration; 2],
    /// From when the network plugin's file was written anew until our plugin is in it again. Once: who does it often is
    /// repaired ever more slowly.
    pub(crate) conflist: Duration,
}

const FORTY: &str = include_str!("forty.yaml");

/// Prints nanoseconds.
const OVERWRITE: &str = "
    begin=$(date +%s%N)
    cat /run/theirs.conflist > /etc/cni/net.d/10-pods.conflist
    until grep -q millstream-cni /etc/cni/net.d/10-pods.conflist; do :; done
    echo $(($(date +%s%N) - begin))
";

pub(crate) fn measure(stage: &Stage) -> Result<Delays> {
    let labels = (0..ROUNDS).map(|_| label(stage)).collect::<Result<Vec<_>>>()?;
    let pod = [false, true].map(|captured| {
        stage.label(captured)?;
        (0..ROUNDS).map(|_| new_pod(stage)).collect::<Result<Vec<_>>>()
    });
    let [uncaptured, captured] = pod;
    Ok(Delays {
        label: median(labels.iter().map(|(label, _)| *label).collect()),
        label_and_kubectl: median(labels.into_iter().map(|(_, both)| both).collect()),
        pod: [median(uncaptured?), median(captured?)],
        forty: forties(stage)?,
        conflist: overwrite(stage)?,
    })
}

fn label(stage: &Stage) -> Result<(Duration, Duration)> {
    stage.label(false)?;
    let load = stage.load(RATE)?;
    let told = stage.cluster.node("n1")?.agent().log()?.len();
    let begin = Timestamp::now();
    stage.set_label(true)?;
    let done = Timestamp::now();
    let first = loop {
        let log = stage.cluster.node("n1")?.agent().log()?;
        if let Some(first) = first_captured(&log[told..])? {
            break first;
        }
        ensure!(Timestamp::now().duration_since(done).unsigned_abs() < PATIENCE, "nothing was captured");
        // Asking takes a processor's time, and the answer tells when it was.
        thread::sleep(Duration::from_millis(100));
    };
    load.stop()?;
    let since = |then| Duration::try_from(first.duration_since(then)).unwrap_or_default();
    Ok((since(done), since(begin)))
}

/// When the first connection of an agent's log had ended.
fn first_captured(log: &str) -> Result<Option<Timestamp>> {
    let Some(line) = log.lines().find(|line| line.contains("access: connection closed")) else {
        return Ok(None);
    };
    let time = line.split_whitespace().next().context("a record without time")?;
    Ok(Some(time.parse()?))
}

fn new_pod(stage: &Stage) -> Result<Duration> {
    let begin = Instant::now();
    let image = format!("--image={IMAGE}");
    let overrides = r#"--overrides={"spec":{"nodeName":"NODE","terminationGracePeriodSeconds":0}}"#
        .replace("NODE", stage.cluster.node("n1")?.name());
    let run = ["run", "new", IN_NAMESPACE, &image, "--image-pull-policy=Never", &overrides];
    let kubectl = |args: &[&str]| stage.cluster.kubectl(args)?.stdout().map(drop);
    kubectl(&[&run[..], &["--", "peer", "serve", "--mode", "crowd", "--listen", "[::]:7"]].concat())?;
    kubectl(&["wait", "--for=condition=Ready", "pod/new", IN_NAMESPACE, "--timeout=20s"])?;
    let took = begin.elapsed();
    kubectl(&["delete", "pod", "new", IN_NAMESPACE, "--wait"])?;
    Ok(took)
}

/// In turn.
fn forties(stage: &Stage) -> Result<[Duration; 2]> {
    let mut took = [const { Vec::new() }; 2];
    for _ in 0..FORTIES {
        took[0].push(forty(stage, || Ok(()))?);
        took[1].push(forty(stage, || stage.begin_roll())?);
    }
    Ok(took.map(median))
}

fn forty(stage: &Stage, meanwhile: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let begin = Instant::now();
    stage.cluster.apply(&FORTY.replace("IMAGE", IMAGE))?;
    meanwhile()?;
    let kubectl = |args: &[&str]| stage.cluster.kubectl(args)?.stdout().map(drop);
    kubectl(&["rollout", "status", "deployment/forty", IN_NAMESPACE, "--timeout=180s"])?;
    let took = begin.elapsed();
    kubectl(&["delete", "deployment", "forty", IN_NAMESPACE, "--cascade=foreground", "--timeout=180s"])?;
    stage.until_replaced()?;
    Ok(took)
}

fn overwrite(stage: &Stage) -> Result<Duration> {
    let took = stage.cluster.node("n1")?.run(&["timeout", "30", "sh", "-c", OVERWRITE])?;
    Ok(Duration::from_nanos(took.stdout()?.parse()?))
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}
