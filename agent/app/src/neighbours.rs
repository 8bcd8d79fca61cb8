//! What in captured pods collides with their capture, looked for when somebody asks. What is fatal shows as a pod that is
//! not captured; this is what a captured one has to live with.

use std::collections::BTreeMap;

use capture::{
    Error, Netlink, Pins,
    change::look,
    collision::collisions,
    journal::{Entry, Journal},
    maps::Maps,
    neighbours,
};
use model::PodUid;
use netns::Netns;
use tracing::debug;

use crate::run_dir::{AgentFile, RunDir};

/// One sentence a collision, by pod. A pod that cannot be looked into is left out.
pub(crate) async fn collisions_of_pods(run_dir: &RunDir, agent: &AgentFile) -> BTreeMap<PodUid, Vec<String>> {
    let pins = Pins::of_node(&agent.node);
    let mut by_pod = BTreeMap::new();
    let maps = match Maps::open(&pins) {
        Ok(maps) => maps,
        Err(error) => {
            debug!(%error, "Cannot look for collisions");
            return by_pod;
        }
    };
    let (entries, _) = Journal::new(&run_dir.journal()).all();
    for entry in entries {
        match collisions_of(&pins, &maps, &entry).await {
            Ok(sentences) if sentences.is_empty() => {}
            Ok(sentences) => {
                by_pod.insert(entry.uid, sentences);
            }
            Err(error) => debug!(pod = %entry.pod, %error, "Cannot look for collisions"),
        }
    }
    by_pod
}

async fn collisions_of(pins: &Pins, maps: &Maps, entry: &Entry) -> Result<Vec<String>, Error> {
    let netns = Netns::open(&entry.netns)?;
    if netns.cookie() != entry.netns_cookie || maps.pod(entry.netns_cookie)?.is_none() {
        return Ok(Vec::new());
    }
    let mut found = look(&netns, &Netlink::open(&netns)?, &entry.steering).await?;
    neighbours::look(&netns, pins, &entry.steering, &mut found)?;
    let collisions = collisions(&found.neighbours, &entry.steering, false);
    Ok(collisions.iter().map(ToString::to_string).collect())
}
