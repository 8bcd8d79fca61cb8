//! Where a connection goes. Pure: the snapshot, the load and the dice are arguments.
//!
//! ```text
//! original destination ─► resolve ─┬─► Service ─► select ─► one endpoint
//!                                  ├─► Pod ─────────────► that pod
//!                                  ├─► Passthrough ─────► as it was dialled
//!                                  └─► Refuse ──────────► reset, with the reason
//! ```
#![forbid(unsafe_code)]

pub mod refusal;
pub mod resolve;
pub mod select;

pub use refusal::Refusal;
pub use resolve::{Resolution, resolve};
pub use select::{Candidates, select};
