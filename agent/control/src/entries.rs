//! ServiceEntries as whoever gives their hosts addresses sees them. PURE.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use allocation::Taken;
use kube::api::ApiResource;
use model::ObjectName;
use serde_json::Value;

/// All of them, as they were at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries {
    /// How they are asked for; `None` while there is no such kind.
    pub resource: Option<ApiResource>,
    /// By namespace and name.
    pub entries: BTreeMap<ObjectName, Entry>,
    /// The hosts that are to have addresses which nobody wrote in a `spec`.
    pub hosts: BTreeSet<ObjectName>,
    /// What each host's status says, where that is not another's.
    pub recorded: BTreeMap<ObjectName, Vec<IpAddr>>,
    /// What is not to be had; what a status says is not among it.
    pub taken: Taken,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    pub uid: Option<String>,
    /// The `resourceVersion` that this was.
    pub version: String,
    /// As it stands there; `None` where it has none.
    pub status: Option<Value>,
    /// Whether istiod wrote `status.addresses`.
    pub is_istiods: bool,
    /// `None` where the entry makes no sense and never did.
    pub meaning: Option<Meaning>,
}

/// What it says, in its last good version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meaning {
    /// Those of its hosts that may be given addresses, in its order.
    pub eligible: Vec<Arc<str>>,
    /// What of its status makes sense.
    pub written: Vec<(Arc<str>, IpAddr)>,
}

/// What the index has to say.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) entries: Vec<(ObjectName, Meaning)>,
    pub(crate) hosts: BTreeSet<ObjectName>,
    pub(crate) recorded: BTreeMap<ObjectName, Vec<IpAddr>>,
    pub(crate) taken: Taken,
}
