use std::time::Duration;

use super::{Latencies, bucket, least};

#[test]
fn a_bucket_begins_near_each_of_its_values() {
    for value in [0, 1, 63, 64, 65, 127, 128, 129, 1_000, 65_535, 65_536, 1_234_567, 10_000_000_000] {
        let begin = least(bucket(value));
        assert!(begin <= value, "{value}: {begin}");
        assert!(value - begin <= value / 64, "{value}: {begin}");
    }
    // No bucket is skipped and none is shared by two ranges.
    for bucket_number in 0..2_000 {
        assert_eq!(bucket(least(bucket_number)), bucket_number);
    }
}

#[test]
fn percentiles_of_what_was_added() {
    let mut first = Latencies::default();
    let mut second = Latencies::default();
    for microseconds in 1..=1_000 {
        let half = if microseconds % 2 == 0 { &mut first } else { &mut second };
        half.add(Duration::from_micros(microseconds));
    }
    first.merge(&second);
    assert_eq!(first.count(), 1_000);
    for (percent, expected) in [(0.0, 1.0), (50.0, 500.0), (99.0, 990.0), (100.0, 1_000.0)] {
        let found = first.percentile(percent);
        assert!((expected * 0.98..=expected).contains(&found), "p{percent}: {found}");
    }
    assert_eq!(Latencies::default().percentile(50.0), 0.0);
}
