use std::path::Path;

use super::{Error, Netns};

#[test]
fn what_is_no_network_namespace_is_refused() {
    for path in ["/proc/self/ns/mnt", "/proc/self/stat", "/dev/null", "/"] {
        let refused = Netns::open(Path::new(path));
        assert!(matches!(refused, Err(Error::NotNetns { .. })), "{path}: {refused:?}");
    }
    assert!(matches!(Netns::open(Path::new("/no/such/file")), Err(Error::Open { .. })));
}

/// Needs CAP_SYS_ADMIN; without it there is nothing to see.
#[test]
fn a_thread_returns_to_where_it_was_also_from_one_namespace_into_another() {
    let Ok((outer, inner)) = Netns::create().and_then(|outer| Ok((outer, Netns::create()?))) else { return };
    let here = || Netns::current().unwrap();
    let home = here();
    for _again in 0..2 {
        let entered = outer.enter().unwrap();
        assert_eq!(here(), outer);
        for _again in 0..2 {
            inner.run(|| assert_eq!(here(), inner)).unwrap();
            assert_eq!(here(), outer, "a namespace that was entered is left for the one before");
        }
        drop(entered);
        assert_eq!(here(), home);
    }
}
