//! An agent that keeps crashing leaves the node to another that works there: an upgrade that fails again and again must not
//! cost connections again and again.

use std::{path::Path, time::Duration};

use tokio::time::timeout;

use crate::tenure;

const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// How long the other is left alone, after so many crashes in a row.
pub(super) fn pause(crashes: u32) -> Option<Duration> {
    let doublings = crashes.checked_sub(1)?;
    Some(SHORTEST.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST))
}

/// Returns when nobody works on the node any more, and after the pause at the latest.
pub(super) async fn until_free(lock_file: &Path, pause: Duration) {
    let _or_not = timeout(pause, tenure::until_held(lock_file, false)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_crashes_the_longer_the_other_is_left_alone() {
        for (crashes, expected) in
            [(0, None), (1, Some(10)), (2, Some(20)), (5, Some(160)), (6, Some(300)), (u32::MAX, Some(300))]
        {
            assert_eq!(pause(crashes), expected.map(Duration::from_secs), "{crashes} crashes");
        }
    }
}
