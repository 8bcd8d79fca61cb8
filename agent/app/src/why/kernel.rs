//! What the kernel holds for a pod: maps, pins, and its namespace.

use std::sync::Arc;

use abi::Slot;
use capture::{
    Life, Netlink, Older, Pins, Pulse, Steering,
    change::look,
    desired::{Actual, Terms},
    journal::{Entry, Journal},
    maps::{Maps, RegistryMap, Stops},
    plan::Change,
};
use model::PodUid;
use netns::Netns;

use crate::{
    older,
    run_dir::{AgentFile, RunDir},
};

/// What the kernel holds for a pod at this moment.
#[derive(Debug)]
pub struct Kernel {
    pub(super) cookie: u64,
    pub(super) entry: Option<Terms>,
    pub(super) listeners: Vec<Slot>,
    pub(super) life: Life,
    pub(super) steered: bool,
    /// Every interface of the pod is guarded.
    pub(super) guarded: bool,
    /// With `own` and `exclusions` from the maps.
    pub(super) actual: Actual,
    pub(super) steering: Steering,
    /// Connections that are older than the capture; `None` where that cannot be told.
    pub(super) older: Option<usize>,
    pub(super) stops: Stops,
    pub(super) registry: RegistryMap,
}

// === impl Kernel ===

impl Kernel {
    /// Looks into the maps and into the pod's namespace. `None` for a pod that nothing was done to.
    pub async fn look(
        run_dir: &RunDir,
        agent: &AgentFile,
        uid: &PodUid,
    ) -> Result<Option<Self>, capture::Error> {
        let Some(entry) = Journal::new(&run_dir.journal()).read(uid)? else {
            return Ok(None);
        };
        let pins = Pins::of_node(&agent.node);
        let maps = Maps::open(&pins)?;
        let netns = Arc::new(Netns::open(&entry.netns)?);
        let older = Older::of(netns.clone(), &maps, entry.steering.marks).ok();
        let found = look(&netns, &Netlink::open(&netns)?, &entry.steering).await?;
        let cookie = entry.netns_cookie;
        let listeners = maps.listeners()?.into_iter().filter(|(c, _)| *c == cookie).map(|(_, slot)| slot);
        Ok(Some(Self {
            cookie,
            entry: maps.pod(cookie)?,
            listeners: listeners.collect(),
            life: Pulse::open(&pins)?.life()?,
            steered: pins.is_steered(cookie),
            guarded: is_guarded(&pins, &entry, &found),
            actual: Actual {
                own: maps.addresses(cookie)?.into_iter().collect(),
                exclusions: maps.exclusions.of(cookie)?,
                ..found
            },
            steering: entry.steering,
            stops: maps.stops.all()?.remove(&cookie).unwrap_or_default(),
            older: match older {
                Some(older) => older::count(older).await,
                None => None,
            },
            registry: maps.registry,
        }))
    }
}

fn is_guarded(pins: &Pins, entry: &Entry, found: &Actual) -> bool {
    let by_link = pins.guarded(entry.netns_cookie);
    let by_filter = |ifindex: u32| entry.changes.contains(&Change::Filter { ifindex });
    found.interfaces.keys().all(|ifindex| by_link.contains(ifindex) || by_filter(*ifindex))
}
