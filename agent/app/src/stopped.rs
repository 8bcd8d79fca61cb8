//! What the programs dropped or refused, for the pods that the journal knows.

use std::collections::BTreeMap;

use capture::{
    Error, Pins,
    journal::Journal,
    maps::{Maps, Stops},
};
use model::PodUid;
use tracing::debug;

use crate::run_dir::{AgentFile, RunDir};

/// A pod of which nothing was stopped is left out.
pub(crate) fn counts(run_dir: &RunDir, agent: &AgentFile) -> BTreeMap<PodUid, Stops> {
    let count = || -> Result<_, Error> {
        let mut stops = Maps::open(&Pins::of_node(&agent.node))?.stops.all()?;
        let (entries, _) = Journal::new(&run_dir.journal()).all();
        Ok(entries.into_iter().filter_map(|e| Some((e.uid, stops.remove(&e.netns_cookie)?))).collect())
    };
    count().unwrap_or_else(|error| {
        debug!(%error, "Cannot count what was stopped");
        BTreeMap::new()
    })
}
