use super::*;

#[test]
fn sizes_are_clamped() {
    let pool = Pool::new(64 << 20);
    for (asked, given) in [
        (1, SMALLEST),
        (SMALLEST, SMALLEST),
        (SMALLEST * 2, SMALLEST * 2),
        (SMALLEST * 2 + 1, SMALLEST * 4),
        (LARGEST, LARGEST),
        (usize::MAX, LARGEST),
    ] {
        assert_eq!(pool.take(asked).len(), given, "{asked}");
    }
    assert_eq!(pool.lent(), 0);
}

#[test]
fn a_returned_buffer_is_used_again() {
    let pool = Pool::new(64 << 20);
    pool.take(SMALLEST)[0] = 7;
    assert_eq!(pool.take(SMALLEST)[0], 7);
}

#[test]
fn short_of_memory_every_stream_still_gets_the_smallest() {
    let pool = Pool::new(LARGEST + SMALLEST);
    let first = pool.take(LARGEST);
    let second = pool.take(LARGEST);
    let third = pool.take(LARGEST);
    assert_eq!((first.len(), second.len(), third.len()), (LARGEST, SMALLEST, SMALLEST));
    drop(first);
    drop(second);
    assert_eq!(pool.take(LARGEST).len(), LARGEST);
}

#[test]
fn a_shelf_keeps_no_more_than_its_share() {
    let pool = Pool::new(64 << 20);
    let many: Vec<_> = (0..10).map(|_| pool.take(LARGEST)).collect();
    drop(many);
    assert_eq!(lock(pool.shelf(LARGEST)).len(), KEPT / LARGEST);
}
