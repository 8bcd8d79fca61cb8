//! Text of a manifest → objects → index → snapshot. Start it with the seeds of `agent/control/tests/seeds`.
#![no_main]

use control::{ExclusionConfig, Index, IndexConfig, manifest, slices};
use libfuzzer_sys::fuzz_target;
use model::ExclusionList;

fuzz_target!(|text: &str| {
    let objects: Vec<_> =
        manifest::parse(text).into_iter().flatten().map(|manifest| manifest.object).collect();
    let objects: Vec<_> = slices::derive(&objects).into_iter().chain(objects).collect();
    let config = || IndexConfig {
        honour_netns_annotation: true,
        exclusions: ExclusionConfig { allow_overrides: ExclusionList::ALL.into(), ..Default::default() },
        ..IndexConfig::default()
    };

    // One after the other or all at once, the same objects are taken.
    let mut applied = Index::new(config());
    for object in &objects {
        let _ = applied.apply(object);
    }
    let mut index = Index::new(config());
    index.reset(&objects);
    let refused = index.reset(&objects).len();
    assert_eq!(index.reset(&objects).len(), refused, "a reset to the same changes nothing");
    for object in &objects {
        index.delete(&object.key());
    }
    assert!(index.snapshot(1).pods().is_empty(), "what is deleted is gone");
});
