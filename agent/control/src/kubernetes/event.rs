//! What the watches tell.

use std::{collections::BTreeMap, fmt};

use kube::api::ApiResource;
use tokio::sync::mpsc;

use crate::{
    kind::{Kind, ObjectKey},
    object::Object,
};

/// What one watch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// The objects of a kind.
    Objects(Kind),
    /// Which kinds there are that may come later.
    Kinds,
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) topic: Topic,
    /// Of the watch that tells it: of one that was ended, something may still be on its way.
    pub(super) watch: u64,
    pub(super) change: Change,
}

#[derive(Debug)]
pub(super) enum Change {
    /// All objects are about to be told, in pages.
    Listing,
    Page(Vec<Object>),
    /// That was all: what was not told is not there.
    Listed,
    /// From here on each change is told.
    Standing,
    Applied(Object),
    Deleted(ObjectKey),
    /// Changes are no longer told, in one line why. It is tried again.
    Failed(String),
    /// Those of the kinds that may come later which there are.
    Served(Served),
}

/// Each kind that is served, and how to ask for it.
pub(super) type Served = BTreeMap<Kind, ApiResource>;

/// Where a watch tells what it sees.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    pub(super) topic: Topic,
    pub(super) watch: u64,
    pub(super) events: mpsc::Sender<Event>,
}

/// Nobody wants to know any more.
#[derive(Debug)]
pub(super) struct Closed;

// === impl Topic ===

impl Topic {
    /// Whether nothing may be said before it is known. Those of which Services are given addresses are only warned of.
    pub(super) fn is_awaited(self) -> bool {
        self != Self::Objects(Kind::ServiceCidr)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Objects(kind) = self else {
            return f.write_str("the kinds that not every API server has");
        };
        match kind.name().strip_suffix('y') {
            Some(stem) => write!(f, "{stem}ies"),
            None => write!(f, "{kind}s"),
        }
    }
}

// === impl Outbox ===

impl Outbox {
    pub(super) async fn tell(&self, change: Change) -> Result<(), Closed> {
        let Self { topic, watch, events } = self;
        events.send(Event { topic: *topic, watch: *watch, change }).await.map_err(|_| Closed)
    }
}
