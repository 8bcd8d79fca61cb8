//! Addresses for hosts that have none of their own, so that connections to them can be told apart. Pure: no IO, no
//! clock.
//!
//! ```text
//!  hosts of ServiceEntries ──► Demand ─┐
//!                                      ├──► reconcile ──► Record (written down for all nodes), problems
//!  what is written down ────► Record ──┘
//! ```
//!
//! A hash of a host's namespace and name proposes its IPv4 address, and the record decides: what is written there stays
//! the host's as long as there is that host, whatever becomes of others. The IPv6 address is a hash alone, of so many
//! bits that no two hosts ever share one. An address that somebody wrote for a host always wins.
#![forbid(unsafe_code)]

/// What is asked for.
mod demand;
/// What proposes an address.
mod hash;
/// The allocation of istiod before it kept records.
pub mod istio_v1;
/// What is to be reported.
mod problem;
/// The networks that addresses are of.
mod ranges;
/// What decides.
mod record;
/// The addresses of a range that are free.
mod slots;

use std::time::Duration;

pub use self::{
    demand::{Demand, Holder, Taken},
    problem::Problem,
    ranges::{RangeError, Ranges},
    record::{Reconciled, Record, Recorded},
};

/// How hosts get addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationConfig {
    pub mode: Mode,
    pub ranges: Ranges,
    /// For so long nobody else gets the address of a host that is gone: clients may still know it.
    pub quarantine: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What is written down holds.
    #[default]
    Recorded,
    /// Nobody here gives any. What ServiceEntries have in their status holds, whoever wrote it.
    Off,
    /// As istiod does it with `PILOT_ENABLE_IP_AUTOALLOCATE=false`, for meshes on their way from there. Nothing is
    /// written down, and hosts that come may move others.
    IstioV1,
}

// === impl AllocationConfig ===

impl Default for AllocationConfig {
    fn default() -> Self {
        Self { mode: Mode::default(), ranges: Ranges::default(), quarantine: Duration::from_secs(60 * 60) }
    }
}
