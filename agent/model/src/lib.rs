//! The nouns of Millstream. Pure: no IO, no clock, no runtime.
//!
//! Everything the agent knows of the cluster is one immutable [`Snapshot`]: the pods, the services and
//! the endpoints that serve them. `control` builds it, every other component only reads it.
#![forbid(unsafe_code)]

pub mod address;
pub mod allocation;
pub mod cidr;
pub mod exclusions;
pub mod marks;
pub mod name;
pub mod pod;
pub mod registered;
pub mod service;
pub mod snapshot;

pub use address::{ClientAddr, EndpointAddr, OriginalDst, canonical};
pub use allocation::{Allocation, AllocationOrigin};
pub use cidr::Cidr;
pub use exclusions::{Excluded, Exclusion, ExclusionList, Exclusions, Origin, Ports};
pub use marks::Marks;
pub use name::{ObjectName, PodUid};
pub use pod::{Enrolment, ExistingConnections, OutboundPolicy, Pod, PodDns, Uncaptured, WhenAgentDown};
pub use registered::Registered;
pub use service::{
    Affinity, Discovery, Endpoint, EndpointState, Location, NamedEndpoint, Registry, Service, ServicePort,
    Visibility,
};
pub use snapshot::{ReadyAddresses, Snapshot, SnapshotBuilder};
