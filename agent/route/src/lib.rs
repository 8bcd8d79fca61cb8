//! Where a connection goes. Pure: the snapshot, the load and the dice are arguments.
//!
//! ```text
//! original destination ─► resolve ─┬─► Service ─► select ─► one endpoint
//!                                  ├─► Names ───────────► one address of those that DNS gives for them
//!                                  ├─► Pod ─────────────► that pod
//!                                  ├─► Passthrough ─────► as it was dialled
//!                                  └─► Refuse ──────────► reset, with the reason
//!
//! endpoint ─► way ─┬─► Direct ──► in the namespace of a pod of this node
//!                  ├─► Wire ────► into its interface, for a network policy may select it or the client
//!                  └─► Forward ─► elsewhere
//! ```
#![forbid(unsafe_code)]

pub mod client;
pub mod refusal;
pub mod resolve;
pub mod select;
pub mod way;

pub use client::Client;
pub use refusal::Refusal;
pub use resolve::{Resolution, resolve};
pub use select::{Candidates, less_loaded, select};
pub use way::{Journey, SameNode, Via, Way, way};
