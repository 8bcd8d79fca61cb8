//! Memory of the agent: alone, and with connections that do nothing.

use std::{fs::File, thread, time::Duration};

use anyhow::{Context, Result};
use harness::millstream;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::{
    markdown::{Table, mib},
    progress,
    report::{Report, Section, Target},
    road::{Road, Stage},
    workload::Bound,
};

/// An agent that has just enrolled pods is not idle yet.
const IDLE: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 4_000;
const MOST_IDLE: Bound = Bound::AtMost(15.0);
const MOST_EACH: Bound = Bound::AtMost(16.0);

pub(crate) fn run(report: &mut Report) -> Result<()> {
    let mut table =
        Table::new(&["", "no connection", "of it anonymous", "4000 idle connections", "KiB per connection"]);
    let mut ours = None;
    for road in [Road::Ours, Road::Redirect] {
        forget_program()?;
        let mut stage = Stage::build(road)?;
        let addr = stage.serve("hold", 1)?.to_string();
        thread::sleep(IDLE);
        let watched = stage.watched().context("no proxy on this road")?;
        let (before, anonymous) = (watched.resident()?, watched.anonymous()?);
        let clients = match stage.start_load(&["idle", &addr, "--count", &CONNECTIONS.to_string()]) {
            Err(e) if road == Road::Redirect => {
                // It loses SYNs now and then, which is no reason to lose the rest of the run.
                progress!("memory  {road}: not measured: {e:#}");
                continue;
            }
            clients => clients?,
        };
        let after = watched.resident()?;
        drop(clients);
        let each = after.saturating_sub(before) as f64 / 1024.0 / CONNECTIONS as f64;
        progress!("memory  {road}: {} idle, {each:.1} KiB per connection", mib(before));
        table.row([road.to_string(), mib(before), mib(anonymous), mib(after), format!("{each:.1}")]);
        if road == Road::Ours {
            ours = Some((before as f64 / 1e6, each));
        }
    }
    report.sections.push(Section {
        title: "Memory",
        text: "RSS of the process that carries the traffic; what is not anonymous is the program itself. Idle for five seconds; then each connection has \
               carried a byte. Behind REDIRECT it is two for the proxy.",
        table,
    });
    if let Some((idle, each)) = ours {
        report.targets.push(target("agent: RSS idle, MB", MOST_IDLE, idle));
        report.targets.push(target("agent: KiB per idle connection", MOST_EACH, each));
    }
    Ok(())
}

/// A file that was just linked lies in larger pieces in the page cache, more of which are mapped than are used: megabytes.
/// Read from the disk anew it is as on a node.
fn forget_program() -> Result<()> {
    let program = File::open(millstream()?)?;
    program.sync_all()?;
    Ok(posix_fadvise(&program, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?)
}

fn target(what: &str, bound: Bound, found: f64) -> Target {
    Target {
        what: what.to_owned(),
        wanted: bound.to_string(),
        found: format!("{found:.1}"),
        met: bound.holds(found),
        workload: None,
    }
}
