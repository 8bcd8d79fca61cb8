use serde_json::json;

use super::Course;

#[test]
fn the_course_of_a_long_run() {
    let mut by_second = vec![100.0];
    by_second.extend([90.0; 20]);
    by_second.extend([10.0, 80.0, 80.0, 80.0, 80.0, 80.0, 80.0, 80.0, 80.0, 80.0]);
    let course =
        Course::of(&json!({"by_second": by_second, "failures": {"reset": 2, "timed out": 1}})).unwrap();
    assert_eq!((course.first(), course.median(), course.worst(), course.last()), (100.0, 90.0, 10.0, 80.0));
    assert_eq!(course.failed, 3);
}

#[test]
fn one_second_has_no_course() {
    for found in [json!({"by_second": [1], "failures": {}}), json!({"by_second": [1, 2]}), json!({})] {
        assert!(Course::of(&found).is_err(), "{found}");
    }
}
