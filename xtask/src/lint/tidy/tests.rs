use std::path::Path;

use super::{MAX_LINES, check_arrows, check_file};

#[test]
fn long_files_are_reported_unless_they_are_tests() {
    let long = "//! x\n".repeat(MAX_LINES + 1);
    let cases = [
        ("agent/proxy/src/copy.rs", 1),
        ("agent/proxy/src/copy/tests.rs", 0),
        ("agent/control/src/tests/pods.rs", 0),
        ("tests/lab/release.rs", 0),
        ("tests/src/lab.rs", 1),
    ];
    for (name, expected) in cases {
        assert_eq!(check_file(Path::new(name), &long).len(), expected, "{name}");
    }
    assert!(check_file(Path::new("agent/proxy/src/copy.rs"), "//! short\n").is_empty());
}

#[test]
fn a_crate_says_what_it_is_for() {
    assert_eq!(check_file(Path::new("agent/route/src/lib.rs"), "mod resolve;\n").len(), 1);
    assert!(check_file(Path::new("agent/route/src/lib.rs"), "//! Where to.\n").is_empty());
    assert!(check_file(Path::new("agent/route/src/resolve.rs"), "fn f() {}\n").is_empty());
}

#[test]
fn arrows_point_down_and_pure_crates_stay_pure() {
    let cases: [(&str, &[&str], usize); 6] = [
        ("route", &["model"], 0),
        ("model", &["route"], 1),
        ("proxy", &["capture", "tokio"], 1),
        ("route", &["tokio", "fastrand"], 1),
        ("app", &["control", "capture", "proxy", "tokio"], 0),
        ("newcomer", &[], 1),
    ];
    for (name, dependencies, expected) in cases {
        let complaints = check_arrows(name, dependencies);
        assert_eq!(complaints.len(), expected, "{name}: {complaints:?}");
    }
}
