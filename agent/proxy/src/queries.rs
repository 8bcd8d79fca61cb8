//! What became of the queries, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// What became of one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryOutcome {
    /// By the mesh itself.
    Answered,
    /// The resolver's reply went back.
    Forwarded,
    /// The resolver refused, and so do we; or it could not be reached or did not reply in time: `SERVFAIL`.
    Failed,
    /// The pod or the node has all the queries under way that it may have: `SERVFAIL`.
    OverLimit,
    /// No query at all: not a word.
    Dropped,
}

#[derive(Debug, Default)]
pub(crate) struct Outcomes([AtomicU64; QueryOutcome::ALL.len()]);

// === impl QueryOutcome ===

impl QueryOutcome {
    pub const ALL: [Self; 5] =
        [Self::Answered, Self::Forwarded, Self::Failed, Self::OverLimit, Self::Dropped];

    /// The label in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Forwarded => "forwarded",
            Self::Failed => "failed",
            Self::OverLimit => "over-limit",
            Self::Dropped => "dropped",
        }
    }
}

// === impl Outcomes ===

impl Outcomes {
    pub(crate) fn count(&self, outcome: QueryOutcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Vec<(QueryOutcome, u64)> {
        QueryOutcome::ALL.iter().map(|&o| (o, self.0[o as usize].load(Ordering::Relaxed))).collect()
    }
}
