use std::time::Duration;

use tokio::time::Instant;

use super::Dispute;

#[test]
fn the_first_repair_is_followed_by_no_pause_and_the_others_by_longer_ones() {
    let mut dispute = Dispute::default();
    let mut now = Instant::now();
    let mut pauses = Vec::new();
    for times in 1..=9 {
        let pause = dispute.after(true, now);
        assert_eq!(dispute.is_on(), 3 <= times, "{times}");
        pauses.push(pause.as_secs());
        now += pause + Duration::from_millis(20);
    }
    assert_eq!(pauses, [0, 1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(dispute.times(), 9);
}

#[test]
fn peace_is_when_nothing_was_repaired_for_a_minute() {
    for (name, seconds, repaired, times, pause) in [
        ("a look in between", 1, false, 3, 0),
        ("repaired again", 59, true, 4, 4),
        ("peace", 60, false, 0, 0),
        ("a new dispute", 60, true, 1, 0),
    ] {
        let mut dispute = Dispute::default();
        let now = Instant::now();
        for _ in 0..3 {
            dispute.after(true, now);
        }
        let after = dispute.after(repaired, now + Duration::from_secs(seconds));
        assert_eq!((dispute.times(), after.as_secs()), (times, pause), "{name}");
    }
}
