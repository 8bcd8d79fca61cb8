//! `millstream status`

use anyhow::{Result, bail};
use app::{
    api::{AgentState, Request, Status},
    client::{Asked, ask},
    offline::Offline,
    run_dir::RunDir,
};

use crate::{
    Outcome, block_on,
    output::{Format, print},
};

pub(crate) fn run(run_dir: &RunDir, format: Format) -> Result<Outcome> {
    let status = match ask(run_dir, &Request::Status)? {
        Asked::Answer(status) => status,
        Asked::Refused(why) => bail!(why),
        Asked::Down => block_on(Offline::open(run_dir))??.status(),
    };
    print(format, &status, text)?;
    Ok(if status.problems.is_empty() { Outcome::Fine } else { Outcome::Bad })
}

fn text(status: &Status) -> String {
    let Status { node, agent, pid, version, pods, connections, ended, refused, problems, snapshot, .. } =
        status;
    let agent = match (agent, pid) {
        (AgentState::Running, Some(pid)) => format!("running (PID {pid}), version {version}"),
        (AgentState::Running, None) => format!("running, version {version}"),
        (AgentState::Down, _) => format!("down, last version {version}"),
    };
    let ended = match &ended[..] {
        [] => "none yet".to_owned(),
        ended => {
            ended.iter().map(|e| format!("{} {}", e.connections, e.reason)).collect::<Vec<_>>().join(", ")
        }
    };
    let mut lines = vec![
        format!("node         {node}"),
        format!("agent        {agent}"),
        format!("snapshot     {snapshot}, {} refused", refused.len()),
        format!(
            "pods         {} on this node: {} captured, {} releasing, {} failed",
            pods.on_node, pods.captured, pods.releasing, pods.failed
        ),
        format!("connections  {connections} open; ended: {ended}"),
    ];
    lines.extend(refused.iter().map(|refusal| format!("refused      {refusal}")));
    lines.extend(problems.iter().map(|problem| format!("problem      {problem}")));
    lines.join("\n")
}
