//! Addresses that hosts were given for want of their own.

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::ObjectName;

/// What one host was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Allocation {
    /// The namespace, and the host for a name.
    pub host: ObjectName,
    pub addresses: Vec<IpAddr>,
    pub origin: AllocationOrigin,
    /// Since when there is no such host; for some time nobody else gets its address.
    pub freed: Option<Arc<str>>,
}

/// Where it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AllocationOrigin {
    /// In the record that the agents of a folder of manifests share.
    Recorded,
    /// In `status.addresses` of its ServiceEntry.
    Status,
    /// Nowhere: the range of IPv4 has none left, and the one of IPv6 comes from the host's name alone.
    Hash,
    /// Nowhere: computed as istiod did before it kept records.
    IstioV1,
}
