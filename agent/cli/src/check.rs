//! `millstream check`

use anyhow::Result;
use app::run_dir::RunDir;
use capture::{
    Steering, canary,
    preflight::{self, Finding},
};

use crate::{
    Outcome, block_on,
    output::{Format, print, table},
};

pub(crate) fn run(run_dir: &RunDir, format: Format) -> Result<Outcome> {
    let mut findings = preflight::inspect();
    if findings.iter().all(|finding| finding.ok) {
        // The numbers that this node's agent uses, if there is one.
        let steering = run_dir.read().map_or_else(|_| Steering::default(), |agent| agent.steering);
        findings.push(self_test(steering)?);
    }
    print(format, &findings, |findings| table(["CHECK", "OK", "FOUND", "REMEDY"], findings.iter().map(row)))?;
    Ok(if findings.iter().all(|finding| finding.ok) { Outcome::Fine } else { Outcome::Bad })
}

fn self_test(steering: Steering) -> Result<Finding> {
    let sung = block_on(canary::sing(steering))?;
    Ok(match sung {
        Ok(took) => Finding {
            check: "self-test",
            ok: true,
            found: format!("a canary's connection arrived captured, after {} µs", took.as_micros()),
            remedy: None,
        },
        Err(dead) => Finding {
            check: "self-test",
            ok: false,
            found: format!("{:#}", anyhow::Error::from(dead)),
            remedy: Some("see what refused it; `dmesg` may say more of eBPF and LSMs".to_owned()),
        },
    })
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
