//! Many durations in little room: a histogram that grows no larger the longer it is used.

use std::time::Duration;

/// Parts that every power of two is divided in: no value is off by more than a sixty-fourth.
const PARTS: u64 = 64;
const BUCKETS: usize = 64 * 64;

/// Durations, to the nanosecond below 64 ns and to 1.6 % above.
#[derive(Debug)]
pub(crate) struct Latencies {
    counts: Vec<u64>,
    count: u64,
}

// === impl Latencies ===

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.count += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
        self.count += other.count;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// In microseconds; 0 when there is nothing.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let wanted = percent / 100.0 * self.count as f64;
        let mut passed = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            passed += count;
            if 0 < passed && wanted <= passed as f64 {
                return least(bucket) as f64 / 1_000.0;
            }
        }
        0.0
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], count: 0 }
    }
}

fn bucket(value: u64) -> usize {
    let doublings = value.max(1).ilog2().saturating_sub(PARTS.ilog2());
    // Between PARTS and twice that, unless it is small.
    let part = value >> doublings;
    usize::try_from(u64::from(doublings) * PARTS + part).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// The least value of a bucket.
fn least(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * PARTS {
        return bucket;
    }
    let doublings = bucket / PARTS - 1;
    (bucket % PARTS + PARTS) << doublings
}

#[cfg(test)]
mod tests;
