//! `millstream status`

use anyhow::Result;
use app::{
    api::{AgentState, Request, Status},
    offline::Offline,
    run_dir::RunDir,
};

use crate::{
    Outcome,
    ask::ask,
    block_on,
    output::{Format, facts, print},
};

pub(crate) fn run(run_dir: &RunDir, format: Format) -> Result<Outcome> {
    let offline = || Ok(block_on(Offline::open(run_dir))??.status());
    let status = ask(run_dir, &Request::Status, offline)?;
    print(format, &status, text)?;
    Ok(if status.problems.is_empty() { Outcome::Fine } else { Outcome::Bad })
}

fn text(status: &Status) -> String {
    let Status { node, agent, pid, version, source, pods, connections, ended, probes, snapshot, .. } = status;
    let Status { generation, cni, refused, uncapturable, problems, .. } = status;
    let agent = match (agent, pid) {
        (AgentState::Running, Some(pid)) => {
            format!("running (PID {pid}), version {version}, generation {generation}")
        }
        (AgentState::Running, None) => format!("running, version {version}"),
        (AgentState::Stuck, pid) => {
            format!("stuck (PID {}), version {version}", pid.map_or("?".to_owned(), |pid| pid.to_string()))
        }
        (AgentState::Down, _) => format!("down, last version {version}"),
    };
    let ended = match &ended[..] {
        [] => "none yet".to_owned(),
        ended => {
            ended.iter().map(|e| format!("{} {}", e.connections, e.reason)).collect::<Vec<_>>().join(", ")
        }
    };
    let pods = format!(
        "{} on this node: {} captured, {} releasing, {} failed",
        pods.on_node, pods.captured, pods.releasing, pods.failed
    );
    let mut rows = vec![
        ["node", node.as_str()].map(str::to_owned),
        ["agent".to_owned(), agent],
        ["source", source.as_str()].map(str::to_owned),
        ["snapshot".to_owned(), format!("{snapshot}, {} refused", refused.len())],
        ["pods".to_owned(), pods],
        ["connections".to_owned(), format!("{connections} open; ended: {ended}")],
    ];
    rows.extend(cni.iter().map(|place| ["CNI".to_owned(), place.clone()]));
    rows.extend(probes.iter().map(|whose| ["probes".to_owned(), whose.clone()]));
    rows.extend(refused.iter().map(|refusal| ["refused".to_owned(), refusal.clone()]));
    rows.extend(uncapturable.iter().map(|pod| ["not captured".to_owned(), pod.clone()]));
    rows.extend(problems.iter().map(|problem| ["problem".to_owned(), problem.clone()]));
    facts(rows)
}
