//! Whose the Lease is: the rules of client-go's leader election. PURE.
//!
//! Clocks of different nodes are never compared: another's Lease has run out when it was seen unchanged for as long as it
//! is for, by the clock of whoever looks.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};
use tokio::time::Instant;

/// So long others leave it alone.
pub(crate) const DURATION: Duration = Duration::from_secs(15);
/// Who could not renew it for so long leads no more; less than the duration, so that no two lead at once.
pub(crate) const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Between tries.
pub(crate) const RETRY: Duration = Duration::from_secs(2);

/// Whatever somebody wrote there, nobody waits longer.
const LONGEST: i32 = 60;

/// One who wants to lead, and what it has seen.
#[derive(Debug)]
pub(crate) struct Candidate {
    identity: String,
    /// The Lease when it was last found changed, and when that was.
    seen: Option<(LeaseSpec, Instant)>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Move {
    /// Write this: it is free, it has run out, or it is one's own.
    Write(LeaseSpec),
    /// It is this one's.
    Wait(String),
}

// === impl Candidate ===

impl Candidate {
    pub(crate) fn new(identity: &str) -> Self {
        Self { identity: identity.to_owned(), seen: None }
    }

    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// What to do about a Lease that says this.
    pub(crate) fn next(&mut self, spec: &LeaseSpec, now: Timestamp, at: Instant) -> Move {
        let since = match &self.seen {
            Some((seen, since)) if seen == spec => *since,
            _ => {
                self.seen = Some((spec.clone(), at));
                at
            }
        };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let is_own = holder == self.identity;
        let seconds = spec.lease_duration_seconds.unwrap_or(0).clamp(1, LONGEST);
        let runs_out = since + Duration::from_secs(seconds.unsigned_abs().into());
        if !holder.is_empty() && !is_own && at < runs_out {
            return Move::Wait(holder.to_owned());
        }
        let now = Some(MicroTime(now));
        let transitions = spec.lease_transitions.unwrap_or(0);
        Move::Write(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if is_own { spec.acquire_time.clone() } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(if is_own { transitions } else { transitions.saturating_add(1) }),
            ..spec.clone()
        })
    }
}

/// What the one that leads writes at its end, so that nobody needs to wait.
pub(crate) fn released(spec: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        ..spec.clone()
    }
}

#[cfg(test)]
mod tests;
