//! Has the allocator give memory back. glibc takes the first large blocks that are freed for a sign of more to come, and from
//! then on keeps as much (mallopt(3), `M_MMAP_THRESHOLD`); and it gives each thread a heap of its own, each with its own gaps.

use std::thread;

use nix::libc;

/// What may be unused at the end of a heap: glibc's own beginning, which it would otherwise raise.
const UNUSED: libc::c_int = 128 << 10;

/// As many heaps as there are processors: more threads than those never allocate at once.
///
/// To be called before the first thread is started. What the allocator refuses costs memory, and nothing else.
pub fn keep_small() {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let heaps = libc::c_int::try_from(processors).unwrap_or(libc::c_int::MAX);
    for (parameter, value) in [(libc::M_TRIM_THRESHOLD, UNUSED), (libc::M_ARENA_MAX, heaps)] {
        // SAFETY: it takes two integers and a lock, whichever they are.
        let _refused = unsafe { libc::mallopt(parameter, value) };
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;
    use crate::status::kib;

    const PIECE: usize = 100 << 10;
    const PIECES: usize = 400;

    /// Forty megabytes in pieces, none of which is a mapping of its own.
    fn use_much() {
        drop(black_box((0..PIECES).map(|_| vec![1_u8; PIECE]).collect::<Vec<_>>()));
    }

    #[test]
    fn what_was_used_once_is_given_back() {
        keep_small();
        // After this, glibc left to itself keeps twice as much at the end of every heap.
        drop(black_box(vec![1_u8; 30 << 20]));
        let before = kib("RssAnon:");
        use_much();
        let kept = kib("RssAnon:").saturating_sub(before);
        assert!(kept < PIECES * PIECE / 1024 / 10, "{kept} KiB are kept");
    }
}
