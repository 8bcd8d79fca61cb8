//! Connections of a captured pod that pass without the proxy.
//!
//! There are four lists: networks and ports, for each direction. A connection is excluded if it is on one of the two
//! of its direction.

use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeSeq};

use crate::{Cidr, cidr::CidrError};

/// What is excluded for one pod, each with who says so. Where several do, the node's configuration comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusions(BTreeMap<Exclusion, Origin>);

/// Which of the four lists, by its name in the node's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ExclusionList {
    /// Addresses that the pod dials.
    #[serde(rename = "exclude-outbound-cidrs")]
    OutboundCidrs,
    /// Ports that the pod dials.
    #[serde(rename = "exclude-outbound-ports")]
    OutboundPorts,
    /// Addresses that dial the pod.
    #[serde(rename = "exclude-inbound-cidrs")]
    InboundCidrs,
    /// Ports of the pod.
    #[serde(rename = "exclude-inbound-ports")]
    InboundPorts,
}

/// One item of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Exclusion {
    pub list: ExclusionList,
    pub what: Excluded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Excluded {
    Cidr(Cidr),
    Ports(Ports),
}

/// A port, or all from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
}

/// Who asks for an exclusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The node's configuration.
    Node,
    /// An annotation of the pod.
    Pod,
}

/// Why a list is refused, as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExclusionError {
    #[error("has more than {ITEMS_MAX} items")]
    TooMany,
    #[error("item {position} is empty")]
    Empty { position: usize },
    #[error("item {position}, {item:?}, {source}")]
    Cidr { position: usize, item: String, source: CidrError },
    #[error("item {position}, {item:?}, is not a port from 1 to 65535, nor a range like 8000-8010")]
    Ports { position: usize, item: String },
}

/// Of one list. A range of ports takes up to 30 entries in the kernel, so this bounds what one pod can take from
/// the others.
pub const ITEMS_MAX: usize = 32;

// === impl Exclusions ===

impl Exclusions {
    /// Reads one list: items between commas, blanks allowed around them. Nothing at all is an empty list.
    pub fn parse(list: ExclusionList, text: &str, origin: Origin) -> Result<Self, ExclusionError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        // Not counted to the end: the text may be long.
        if ITEMS_MAX < text.split(',').take(ITEMS_MAX + 1).count() {
            return Err(ExclusionError::TooMany);
        }
        let items = text.split(',').map(str::trim).zip(1..);
        let read = items.map(|(item, position)| Ok((Exclusion::parse(list, item, position)?, origin)));
        Ok(Self(read.collect::<Result<_, _>>()?))
    }

    /// Adds those of `other`. What is there already keeps its origin.
    pub fn extend(&mut self, other: &Self) {
        for (exclusion, origin) in &other.0 {
            self.0.entry(*exclusion).or_insert(*origin);
        }
    }

    /// Those of one origin in one list.
    #[must_use]
    pub fn only(&self, list: ExclusionList, origin: Origin) -> Self {
        let fits = self.iter().filter(|(exclusion, o)| exclusion.list == list && *o == origin);
        Self(fits.collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = (Exclusion, Origin)> + '_ {
        self.0.iter().map(|(exclusion, origin)| (*exclusion, *origin))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What excludes a connection by this list: of networks, by the address; of ports, by the port.
    pub fn covering(&self, list: ExclusionList, addr: SocketAddr) -> Option<(Exclusion, Origin)> {
        self.iter().find(|(exclusion, _)| exclusion.list == list && exclusion.what.covers(addr))
    }
}

impl Serialize for Exclusions {
    /// A list: JSON has no keys but strings.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.len()))?;
        for item in self.iter() {
            seq.serialize_element(&item)?;
        }
        seq.end()
    }
}

// === impl ExclusionList ===

impl ExclusionList {
    pub const ALL: [Self; 4] =
        [Self::OutboundCidrs, Self::OutboundPorts, Self::InboundCidrs, Self::InboundPorts];

    /// In the node's configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::OutboundCidrs => "exclude-outbound-cidrs",
            Self::OutboundPorts => "exclude-outbound-ports",
            Self::InboundCidrs => "exclude-inbound-cidrs",
            Self::InboundPorts => "exclude-inbound-ports",
        }
    }

    /// On a pod.
    pub fn annotation(self) -> &'static str {
        match self {
            Self::OutboundCidrs => "millstream.dev/exclude-outbound-cidrs",
            Self::OutboundPorts => "millstream.dev/exclude-outbound-ports",
            Self::InboundCidrs => "millstream.dev/exclude-inbound-cidrs",
            Self::InboundPorts => "millstream.dev/exclude-inbound-ports",
        }
    }

    /// Where somebody who asks for it has written it.
    pub fn written_in(self, origin: Origin) -> String {
        match origin {
            Origin::Node => format!("node configuration {}", self.name()),
            Origin::Pod => format!("annotation {}", self.annotation()),
        }
    }
}

// === impl Exclusion ===

impl Exclusion {
    fn parse(list: ExclusionList, item: &str, position: usize) -> Result<Self, ExclusionError> {
        if item.is_empty() {
            return Err(ExclusionError::Empty { position });
        }
        let what = match list {
            ExclusionList::OutboundCidrs | ExclusionList::InboundCidrs => item
                .parse()
                .map(Excluded::Cidr)
                .map_err(|source| ExclusionError::Cidr { position, item: item.to_owned(), source })?,
            ExclusionList::OutboundPorts | ExclusionList::InboundPorts => {
                item.parse()
                    .map(Excluded::Ports)
                    .map_err(|_| ExclusionError::Ports { position, item: item.to_owned() })?
            }
        };
        Ok(Self { list, what })
    }
}

// === impl Excluded ===

impl Excluded {
    pub fn covers(self, addr: SocketAddr) -> bool {
        match self {
            Self::Cidr(cidr) => cidr.contains(addr.ip()),
            Self::Ports(ports) => ports.contains(addr.port()),
        }
    }
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cidr(cidr) => cidr.fmt(f),
            Self::Ports(ports) => ports.fmt(f),
        }
    }
}

// === impl Ports ===

impl Ports {
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// What is no port, nor a range of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPorts;

impl FromStr for Ports {
    type Err = NoPorts;

    fn from_str(text: &str) -> Result<Self, NoPorts> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first).ok_or(NoPorts)?, port(last).ok_or(NoPorts)?);
        if first <= last { Ok(Self { first, last }) } else { Err(NoPorts) }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { first.fmt(f) } else { write!(f, "{first}-{last}") }
    }
}

/// Digits only: `parse` alone would take a sign.
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests;
