use std::{path::Path, thread};

use nix::sched::{CloneFlags, setns};

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
    let Ok(outer) = Netns::create() else { return };
    let (inner, here) = (Netns::create().unwrap(), || Netns::current().unwrap());
    let home = here();
    let there_and_back = |from: &Netns| {
        for _again in 0..2 {
            let entered = outer.enter().unwrap();
            assert_eq!(here(), outer);
            // Also where that is the home of this or of other threads.
            for to in [&inner, &home, &inner] {
                to.run(|| assert_eq!(&here(), to)).unwrap();
                assert_eq!(here(), outer, "a namespace that was entered is left for the one before");
            }
            drop(entered);
            assert_eq!(&here(), from);
        }
    };
    there_and_back(&home);
    // A thread that lives elsewhere than the others.
    thread::scope(|scope| {
        scope.spawn(|| {
            setns(&inner, CloneFlags::CLONE_NEWNET).unwrap();
            for _again in 0..2 {
                home.run(|| outer.run(|| assert_eq!(here(), outer)).unwrap()).unwrap();
                assert_eq!(here(), inner);
            }
            there_and_back(&inner);
        });
    });
}
