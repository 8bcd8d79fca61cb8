use super::*;

#[test]
fn seconds_are_rounded_and_kept_within_what_the_option_takes() {
    for (millis, seconds) in [(0, 1), (499, 1), (59_990, 60), (60_400, 60), (99_999_999, 32_767)] {
        assert_eq!(whole_seconds(Duration::from_millis(millis)), Duration::from_secs(seconds), "{millis}");
    }
}
