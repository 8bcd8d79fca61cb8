//! How a record is written down.

use std::collections::{BTreeMap, BTreeSet};

use model::ObjectName;
use serde::{Deserialize, Serialize};

use super::{Record, Recorded};

/// Of the form. Whoever finds another one leaves it as it is.
const VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    version: u32,
    /// By `namespace/host`.
    hosts: BTreeMap<String, Recorded>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum TextError {
    #[error("it is of version {0}, of which this agent knows nothing: it was written by a newer one")]
    Version(u32),
    #[error("{0:?} is not a namespace and a host, separated by a slash")]
    Host(String),
    #[error("two hosts have {0}")]
    Twice(std::net::Ipv4Addr),
}

// === impl Record ===

impl TryFrom<Written> for Record {
    type Error = TextError;

    fn try_from(Written { version, hosts: written }: Written) -> Result<Self, TextError> {
        if version != VERSION {
            return Err(TextError::Version(version));
        }
        let mut addresses = BTreeSet::new();
        let mut hosts = BTreeMap::new();
        for (name, recorded) in written {
            let parts = name
                .split_once('/')
                .filter(|(namespace, host)| !namespace.is_empty() && !host.is_empty() && !host.contains('/'));
            let Some((namespace, host)) = parts else { return Err(TextError::Host(name)) };
            if !addresses.insert(recorded.ipv4) {
                return Err(TextError::Twice(recorded.ipv4));
            }
            hosts.insert(ObjectName::new(namespace, host), recorded);
        }
        Ok(Self { hosts })
    }
}

impl From<Record> for Written {
    fn from(record: Record) -> Self {
        let hosts = record.hosts.into_iter().map(|(host, recorded)| (host.to_string(), recorded));
        Self { version: VERSION, hosts: hosts.collect() }
    }
}
