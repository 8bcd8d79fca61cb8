//! What the kernel's verifier says of our programs: why it refuses one, and what it takes it to check the others.
//!
//! Source: <https://docs.kernel.org/bpf/verifier.html>.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use aya::programs::{Program, ProgramError, ProgramInfo};
use serde::{Deserialize, Serialize};

use crate::{Error, preflight};

/// One program, as this kernel has taken it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    pub program: String,
    /// Instructions, after the kernel has rewritten some of them.
    pub instructions: u32,
    /// Instructions that the verifier went through, on all paths together. It gives up after a million.
    pub verifier_steps: u32,
}

/// Loads a program. Of one that is refused, all that the verifier says is left in `logs`.
pub(crate) fn load(program: &mut Program, name: &'static str, logs: &Path) -> Result<(), Error> {
    let loaded = match program {
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSockopt(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        Program::SockOps(program) => program.load(),
        _ => return Err(Error::NoObject),
    };
    loaded.map_err(|error| refusal(name, error, logs))
}

fn refusal(program: &'static str, error: ProgramError, logs: &Path) -> Error {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return Error::Program { program, source: error };
    };
    let log = verifier_log.to_string();
    let reason = match summary(&log) {
        None => format!("{io_error}; the verifier says nothing"),
        Some(line) => match keep(&log, program, logs) {
            Ok(path) => format!("{line}; the verifier's whole log is in {}", path.display()),
            Err(e) => format!("{line}; the verifier's log cannot be kept in {}: {e}", logs.display()),
        },
    };
    Error::Verifier { program, kernel: preflight::release(), reason }
}

/// The line that says what is wrong: the last, but for statistics.
fn summary(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 3] = ["processed ", "verification time ", "stack depth "];
    let is_statistic = |line: &&str| STATISTICS.iter().any(|start| line.starts_with(start));
    log.lines().rev().map(str::trim).find(|line| !line.is_empty() && !is_statistic(line))
}

fn keep(log: &str, program: &str, logs: &Path) -> io::Result<PathBuf> {
    // Nobody else's: root writes here.
    DirBuilder::new().recursive(true).mode(0o700).create(logs)?;
    let path = logs.join(format!("{program}.log"));
    fs::write(&path, log)?;
    Ok(path)
}

// === impl Figures ===

impl Figures {
    /// # Minimum kernel version
    ///
    /// 5.16, for the instructions that were verified.
    pub(crate) fn of(program: &str, info: &ProgramInfo) -> Self {
        /// Bytes of an instruction.
        const SIZE: u32 = 8;
        Self {
            program: program.to_owned(),
            instructions: info.size_translated().unwrap_or_default() / SIZE,
            verifier_steps: info.verified_instruction_count().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn the_last_line_that_is_no_statistic_says_what_is_wrong() {
        let stack = "func#0 @0\n0: R1=ctx() R10=fp0\ncombined stack size of 2 calls is 544. Too large\n\
                     verification time 1507 usec\nstack depth 400+112\nprocessed 812 insns (limit 1000000) \
                     max_states_per_insn 3 total_states 60 peak_states 60 mark_read 20\n";
        let access =
            "12: (79) r1 = *(u64 *)(r0 +8)\nR0 invalid mem access 'map_value_or_null'\n\nprocessed 12 insns";
        for (name, log, expected) in [
            ("too much stack", stack, Some("combined stack size of 2 calls is 544. Too large")),
            ("an access", access, Some("R0 invalid mem access 'map_value_or_null'")),
            ("statistics alone", "processed 0 insns (limit 1000000)", None),
            ("nothing", "", None),
        ] {
            assert_eq!(summary(log), expected, "{name}");
        }
    }
}
