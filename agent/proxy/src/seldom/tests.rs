use super::*;

#[test]
fn the_first_is_said_at_once_and_the_rest_by_number() {
    let mut seldom = Seldom::default();
    let start = Instant::now();
    for (after, said) in [(0, Some(1)), (1, None), (9, None), (10, Some(3)), (11, None), (60, Some(2))] {
        assert_eq!(seldom.happened(start + Duration::from_secs(after)), said, "after {after} s");
    }
}
