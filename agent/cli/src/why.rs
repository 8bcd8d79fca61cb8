//! `millstream why`

use anyhow::Result;
use app::{
    api::{Request, Verdict, Why},
    offline::Offline,
    run_dir::RunDir,
};

use crate::{
    Outcome,
    ask::ask,
    block_on,
    output::{Format, print, table},
};

pub(crate) fn run(run_dir: &RunDir, format: Format, pod: &str, destination: &str) -> Result<Outcome> {
    let request = Request::Why { pod: pod.to_owned(), destination: destination.to_owned() };
    let offline = || block_on(async { Offline::open(run_dir).await?.why(pod, destination).await })?;
    let why: Why = ask(run_dir, &request, offline)?;
    print(format, &why, text)?;
    Ok(if why.verdict == Verdict::Refused { Outcome::Bad } else { Outcome::Fine })
}

fn text(why: &Why) -> String {
    let steps = why.steps.iter().map(|s| [s.stage.clone(), s.decision.clone(), s.evidence.clone()]);
    let destination = match &why.name {
        Some(name) => format!("{name} ({})", why.destination.ip()),
        None => why.destination.to_string(),
    };
    format!(
        "A connection from {} to {destination} {}.\n\n{}",
        why.pod,
        why.summary,
        table(["STAGE", "DECISION", "BECAUSE"], steps)
    )
}
