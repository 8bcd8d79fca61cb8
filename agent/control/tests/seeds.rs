//! Every file of `seeds/` goes through the parser and the index: nothing panics, nothing takes long, and what one
//! of them holds does not keep the next from being read. The same files start the fuzzer (`tests/fuzz`).
#![expect(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use control::{ExclusionConfig, Index, IndexConfig, manifest, slices};
use model::ExclusionList;

/// For one seed, on a loaded machine and without optimisation. Most take less than a millisecond.
const BOUND: Duration = Duration::from_secs(5);
/// A refusal is printed on a terminal and in a log: one line, and not the whole file.
const REASON_MAX: usize = 2_000;

fn seeds() -> Vec<(PathBuf, Vec<u8>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seeds");
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn no_seed_does_harm() {
    let seeds = seeds();
    assert!(25 <= seeds.len());
    let exclusions =
        ExclusionConfig { allow_overrides: ExclusionList::ALL.into(), ..ExclusionConfig::default() };
    let mut index =
        Index::new(IndexConfig { honour_netns_annotation: true, exclusions, ..IndexConfig::default() });
    for (path, bytes) in &seeds {
        // Files that are not UTF-8 are refused before they are parsed; here they are made to be.
        let text = String::from_utf8_lossy(bytes);
        let begun = Instant::now();
        let mut objects = Vec::new();
        for result in manifest::parse(&text) {
            match result {
                Ok(manifest) => objects.push(manifest.object),
                Err(error) => {
                    let printed = error.to_string();
                    assert!(printed.len() < REASON_MAX, "{}: {} bytes", path.display(), printed.len());
                    assert!(!printed.contains(char::is_control), "{}: {printed:?}", path.display());
                }
            }
        }
        let derived = slices::derive(&objects);
        for object in objects.iter().chain(&derived) {
            if let Err(refusal) = index.apply(object) {
                let printed = refusal.to_string();
                assert!(!printed.contains(char::is_control), "{}: {printed:?}", path.display());
            }
        }
        index.snapshot(1);
        assert!(begun.elapsed() < BOUND, "{} took {:?}", path.display(), begun.elapsed());
    }
}

#[test]
fn seeds_that_are_cut_off_do_no_harm() {
    for (_, bytes) in seeds().iter().filter(|(_, bytes)| bytes.len() < 1_000) {
        let text = String::from_utf8_lossy(bytes);
        for (end, _) in text.char_indices().step_by(7) {
            manifest::parse(&text[..end]);
        }
    }
}
