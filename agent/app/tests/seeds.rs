//! The seed corpus of the fuzzed configuration parser: whatever the file holds, it is taken or refused by name.

use std::{fs, path::Path};

use app::config::Config;

#[test]
fn seeds_are_taken_or_refused_by_name() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds");
    let mut taken = Vec::new();
    let mut seeds = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        seeds += 1;
        match Config::read(&path) {
            Ok(_) => taken.push(name),
            Err(e) => assert!(format!("{e:#}").contains(&name), "{name} is not named: {e:#}"),
        }
    }
    taken.sort();
    assert!(seeds >= 30, "only {seeds} seeds");
    assert_eq!(
        taken,
        [
            "bom.yaml",
            "braces.yaml",
            "crlf.yaml",
            "empty.yaml",
            "exclusions.yaml",
            "good.yaml",
            "iso.yaml",
            "null.yaml",
            "octal.yaml"
        ]
    );
}
