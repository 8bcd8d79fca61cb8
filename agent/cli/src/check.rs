//! `millstream check`

use anyhow::Result;
use app::run_dir::RunDir;
use capture::{
    Figures, Steering,
    canary::{self, Song},
    cgroup,
    preflight::{self, Finding},
};

use crate::{
    Outcome, block_on,
    output::{Format, print, table},
};

pub(crate) fn run(run_dir: &RunDir, format: Format) -> Result<Outcome> {
    cgroup::enter_node_namespace()?;
    let mut findings = preflight::inspect();
    if findings.iter().all(|finding| finding.ok) {
        // The numbers that this node's agent uses, if there is one.
        let steering = run_dir.read().map_or_else(|_| Steering::default(), |agent| agent.steering);
        findings.extend(self_test(steering, run_dir)?);
    }
    print(format, &findings, |findings| table(["CHECK", "OK", "FOUND", "REMEDY"], findings.iter().map(row)))?;
    Ok(if findings.iter().all(|finding| finding.ok) { Outcome::Fine } else { Outcome::Bad })
}

fn self_test(steering: Steering, run_dir: &RunDir) -> Result<Vec<Finding>> {
    let fine = |check, found| Finding { check, ok: true, found, remedy: None };
    Ok(match block_on(canary::sing(steering, &run_dir.verifier_logs()))? {
        Ok(Song { connect, programs }) => vec![
            fine("programs", programs_in_words(&programs)),
            fine(
                "self-test",
                format!("a canary's connection arrived captured, after {} µs", connect.as_micros()),
            ),
        ],
        Err(dead) => vec![Finding {
            check: "self-test",
            ok: false,
            found: format!("{:#}", anyhow::Error::from(dead)),
            remedy: Some("see what refused it; `dmesg` may say more of eBPF and LSMs".to_owned()),
        }],
    })
}

fn programs_in_words(programs: &[Figures]) -> String {
    let count = programs.len();
    match programs.iter().max_by_key(|figures| figures.verifier_steps) {
        None => "none".to_owned(),
        Some(Figures { program, verifier_steps, .. }) => {
            format!("all {count} load; {program} takes the verifier {verifier_steps} steps of its 1000000")
        }
    }
}

fn row(finding: &Finding) -> [String; 4] {
    let ok = if finding.ok { "yes" } else { "NO" };
    [
        finding.check.to_owned(),
        ok.to_owned(),
        finding.found.clone(),
        finding.remedy.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}
