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
