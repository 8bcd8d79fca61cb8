//! `millstream why`

use anyhow::{Result, bail};
use app::{
    api::{Request, Verdict, Why},
    client::{Asked, ask},
    offline::Offline,
    run_dir::RunDir,
};

use crate::{
    Outcome, block_on,
    output::{Format, print, table},
};

pub(crate) fn run(run_dir: &RunDir, format: Format, pod: &str, destination: &str) -> Result<Outcome> {
    let request = Request::Why { pod: pod.to_owned(), destination: destination.to_owned() };
    let why: Why = match ask(run_dir, &request)? {
        Asked::Answer(why) => why,
        Asked::Refused(why) => bail!(why),
        Asked::Down => block_on(async { Offline::open(run_dir).await?.why(pod, destination).await })??,
    };
    print(format, &why, text)?;
    Ok(if why.verdict == Verdict::Refused { Outcome::Bad } else { Outcome::Fine })
}

fn text(why: &Why) -> String {
    let steps = why.steps.iter().map(|s| [s.stage.clone(), s.decision.clone(), s.evidence.clone()]);
    format!(
        "A connection from {} to {} {}.\n\n{}",
        why.pod,
        why.destination,
        why.summary,
        table(["STAGE", "DECISION", "BECAUSE"], steps)
    )
}
