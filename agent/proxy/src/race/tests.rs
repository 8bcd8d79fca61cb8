use std::cell::{Cell, RefCell};

use tokio::time::Instant;

use super::*;

/// What becomes of a try: after how many milliseconds, and whether it succeeds.
type Fate = (u64, bool);

const NEVER: u64 = 60_000;

#[tokio::test(start_paused = true)]
async fn races() {
    for (name, fates, winner, begun) in [
        ("none", &[][..], None, &[][..]),
        ("one", &[(10, true)], Some(Ok(0)), &[0]),
        ("the first is quick enough", &[(249, true), (1, true)], Some(Ok(0)), &[0]),
        ("the first is silent", &[(NEVER, true), (10, true)], Some(Ok(1)), &[0, 250]),
        ("the first is refused", &[(3, false), (10, true)], Some(Ok(1)), &[0, 3]),
        ("the first is slow and still the first", &[(300, true), (100, true)], Some(Ok(0)), &[0, 250]),
        (
            "a failure starts the next at once",
            &[(NEVER, true), (10, false), (5, true)],
            Some(Ok(2)),
            &[0, 250, 260],
        ),
        ("all fail", &[(400, false), (10, false)], Some(Err(0)), &[0, 250]),
        (
            "no more than four at once",
            &[(NEVER, true), (NEVER, true), (NEVER, true), (2_000, false), (10, true)],
            Some(Ok(4)),
            &[0, 250, 500, 750, 2_750],
        ),
    ] {
        let start = Instant::now();
        let starts = RefCell::new(Vec::new());
        let result = race(fates.iter().copied().enumerate(), |(n, (after, succeeds)): (usize, Fate)| {
            starts.borrow_mut().push(start.elapsed().as_millis());
            async move {
                sleep(Duration::from_millis(after)).await;
                if succeeds { Ok(n) } else { Err(n) }
            }
        })
        .await;
        assert_eq!(result, winner, "{name}");
        assert_eq!(*starts.borrow(), begun, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_lose_are_dropped() {
    struct Open<'a>(&'a Cell<usize>);
    impl Drop for Open<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }
    let open = Cell::new(0);
    let attempt = |after| {
        open.set(open.get() + 1);
        let socket = Open(&open);
        async move {
            sleep(Duration::from_millis(after)).await;
            Ok::<_, ()>(socket)
        }
    };
    let winner = race([NEVER, 700, NEVER], attempt).await;
    assert_eq!(open.get(), 1);
    drop(winner);
    assert_eq!(open.get(), 0);
}
