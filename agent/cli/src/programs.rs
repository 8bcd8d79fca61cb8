//! `millstream programs`

use anyhow::{Context, Result};
use app::run_dir::RunDir;
use capture::{Steering, canary};

use crate::{
    Outcome, block_on,
    output::{Format, print, table},
};

pub(crate) fn run(run_dir: &RunDir, format: Format) -> Result<Outcome> {
    let tried = block_on(canary::try_programs(Steering::default(), &run_dir.verifier_logs()))?;
    let programs = tried.context("`millstream check` says what this machine lacks")?;
    print(format, &programs, |programs| {
        table(
            ["PROGRAM", "INSTRUCTIONS", "VERIFIER STEPS"],
            programs.iter().map(|figures| {
                [
                    figures.program.clone(),
                    figures.instructions.to_string(),
                    figures.verifier_steps.to_string(),
                ]
            }),
        )
    })?;
    Ok(Outcome::Fine)
}
