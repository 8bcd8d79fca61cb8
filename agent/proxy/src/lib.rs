//! The shared TCP proxy of a node: one process accepts the captured connections of every pod and carries
//! each to the endpoint that serves it.
//!
//! # Life of a connection
//!
//! ```text
//! outbound  accept → original_dst → resolve → select → deliver | forward → copy → record
//!                                     └──────→ names → race ┘
//! inbound   accept → original_dst → deliver → copy → record
//! ```
//!
//! Every stage takes the value of the stage before and returns a richer one (`Accepted → Addressed → Routed →
//! Connected`), so nothing is copied before it was routed. `deliver` opens a socket in the namespace of the
//! pod that serves and bears the client's real address; `forward` opens one in the namespace of the client,
//! which leaves the pod as the application's own would have. That is also the way to a pod of this node where a
//! network policy may have a say; its inbound listener takes the connection there.
//!
//! What a pod may have of connections and copy buffers is in [`Limits`]: a connection beyond them is accepted and
//! reset at once, and what one pod takes never keeps another from its part. Time is shared in `lanes` (between pods) and
//! `turns` (between the streams of one).
//!
//! A socket that is dropped on the way is reset, and only a copy that saw both ends finish closes it: a
//! stream that was cut short never looks whole to an application, not even when the agent is killed.
#![forbid(unsafe_code)]

// In reading order: what callers hold, the pipelines, their stages, what the stages use.
pub mod config;
pub mod error;
pub mod proxy;
pub mod reason;
pub mod relay;

mod accept;
mod connection;
mod inbound;
mod outbound;

mod copy;
mod deliver;
mod dns;
mod forward;
mod original_dst;
mod reach;
mod record;
mod resolve;

mod affinity;
mod buffer;
mod canary;
mod connections;
mod end;
mod failure;
mod fair;
mod keepalive;
mod lanes;
mod ledger;
mod limits;
mod load;
mod lock;
mod meter;
mod names;
mod pods;
mod queries;
mod race;
mod refusals;
mod seldom;
mod shared;
mod socket;
mod spare;
mod stream;
mod tuples;
mod turns;
mod usage;

pub use config::ProxyConfig;
pub use connections::{ConnectionRow, Direction, Stage};
pub use error::Error;
pub use limits::Limits;
pub use proxy::{Drained, Listeners, PodNetns, Proxy};
pub use queries::QueryOutcome;
pub use reason::Reason;
pub use refusals::Refused;
pub use relay::Relay;

#[cfg(test)]
mod tests;
