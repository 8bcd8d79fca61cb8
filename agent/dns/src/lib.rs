//! What a pod's DNS query is answered. Pure: the snapshot, the client and the dice are arguments.
//!
//! ```text
//! query ─► decide ─┬─► Answer ──► the reply, from the snapshot
//!                  ├─► Forward ─► as it is, to the resolver that the pod asked
//!                  └─► Drop ────► nothing that can be answered
//!
//! name ─► lookup ─► Found: the service that a pod means by a name, and what the name stands for
//! ```
//!
//! What is not certainly ours is forwarded: the resolver that the pod chose knows better, and a pod sees no
//! difference between no mesh and a mesh that does not know a name.
#![forbid(unsafe_code)]

pub mod decide;
#[cfg(test)]
mod fixture;
pub mod found;
pub mod lookup;
pub mod message;
mod names;
mod reply;
mod seen;

pub use decide::{AnswerConfig, Decision, Dropped, Forwarded, Outcome, Transport, decide};
pub use found::{Found, Meaning, Unanswerable};
pub use lookup::lookup;
pub use message::{Question, is_reply_to, question};
pub use reply::{Failure, failure};
pub use seen::{Client, Match};
