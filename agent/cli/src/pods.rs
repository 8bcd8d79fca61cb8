//! `millstream pods`

use anyhow::Result;
use app::{
    api::{PodRow, PodState, Request},
    offline::Offline,
    run_dir::RunDir,
};

use crate::{
    Outcome,
    ask::ask,
    block_on,
    output::{Format, print, table},
};

pub(crate) fn run(run_dir: &RunDir, format: Format) -> Result<Outcome> {
    let offline = || {
        eprintln!("The agent is down; this is what it left.");
        block_on(async { Ok(Offline::open(run_dir).await?.pods().await) })?
    };
    let rows: Vec<PodRow> = ask(run_dir, &Request::Pods, offline)?;
    print(format, &rows, |rows| {
        table(["NAMESPACE", "POD", "STATE", "AGENT DOWN", "BECAUSE"], rows.iter().map(row))
    })?;
    let failed = rows.iter().any(|row| row.state == PodState::Failed);
    Ok(if failed { Outcome::Bad } else { Outcome::Fine })
}

fn row(pod: &PodRow) -> [String; 5] {
    let plural = if pod.connections == 1 { "" } else { "s" };
    let connections = format!("{} connection{plural}", pod.connections);
    let state = match pod.state {
        PodState::Captured => {
            format!("captured ({connections}{}{}{})", older(pod), refused(pod), colliding(pod))
        }
        PodState::Releasing => format!("releasing ({connections}{})", refused(pod)),
        PodState::Failed => "failed".to_owned(),
        PodState::Pending => "pending".to_owned(),
        PodState::NotEnrolled => "-".to_owned(),
    };
    let down = if pod.state == PodState::NotEnrolled { "-".to_owned() } else { pod.when_agent_down.clone() };
    [pod.namespace.clone(), pod.name.clone(), state, down, because(pod)]
}

/// How many are excluded, what of the pod's own is refused, and how many packets and calls that would have got round
/// the proxy were stopped; `-o json` and `why` say more.
fn because(pod: &PodRow) -> String {
    let mut because = pod.because.clone();
    if pod.state == PodState::NotEnrolled {
        return because;
    }
    for (count, one, many) in [
        (pod.exclusions.len(), "exclusion", "exclusions"),
        (pod.refused_exclusions.len(), "annotation refused", "annotations refused"),
    ] {
        if count > 0 {
            because.push_str(&format!("; {count} {}", if count == 1 { one } else { many }));
        }
    }
    let stopped: u64 = pod.stopped.iter().map(|stop| stop.count).sum();
    if stopped > 0 {
        because.push_str(&format!("; {stopped} stopped on the way out"));
    }
    because
}

/// Those that were reset for want of room; `status` says why.
fn refused(pod: &PodRow) -> String {
    match pod.refused_connections {
        0 => String::new(),
        refused => format!(", {refused} refused"),
    }
}

/// How many; `status` has the sentences.
fn colliding(pod: &PodRow) -> String {
    match pod.collisions.len() {
        0 => String::new(),
        1 => ", 1 collision".to_owned(),
        collisions => format!(", {collisions} collisions"),
    }
}

/// Nothing is said where there are none, which is the rule.
fn older(pod: &PodRow) -> String {
    match pod.older_connections {
        Some(0) => String::new(),
        Some(older) => format!(", {older} older"),
        None => ", ? older".to_owned(),
    }
}
