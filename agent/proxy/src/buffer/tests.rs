use std::sync::Arc;

use super::*;
use crate::{fair::Share, ledger::Ledger};

/// A pool, and what a pod may take of it.
struct Bank {
    pool: Pool,
    ledger: Arc<Ledger>,
    account: Account,
}

#[test]
fn sizes_are_clamped() {
    let bank = Bank::new(64 << 20);
    for (asked, given) in [
        (1, SMALLEST),
        (SMALLEST, SMALLEST),
        (SMALLEST * 2, SMALLEST * 2),
        (SMALLEST * 2 + 1, SMALLEST * 4),
        (LARGEST, LARGEST),
        (usize::MAX, LARGEST),
    ] {
        assert_eq!(bank.pod().take(asked).len(), given, "{asked}");
    }
    assert_eq!(bank.ledger.used(), 0);
}

#[test]
fn a_returned_buffer_is_used_again() {
    let bank = Bank::new(64 << 20);
    bank.pod().take(SMALLEST)[0] = 7;
    assert_eq!(bank.pod().take(SMALLEST)[0], 7);
}

#[test]
fn short_of_memory_every_stream_still_gets_something() {
    let bank = Bank::new(LARGEST + SMALLEST);
    let taken: Vec<_> = [LARGEST; 4].map(|size| bank.pod().take(size)).into();
    let sizes: Vec<_> = taken.iter().map(|buffer| buffer.len()).collect();
    assert_eq!(sizes, [LARGEST, SMALLEST, LEAST, LEAST]);
    assert_eq!(bank.ledger.used(), LARGEST + SMALLEST + 2 * LEAST);
    drop(taken);
    assert_eq!(bank.pod().take(LARGEST).len(), LARGEST);
}

#[test]
fn a_pod_that_takes_all_it_can_leaves_something_to_another() {
    let share = Share { node: 64 << 20, pod: 32 << 20, reserve: 16 << 20 };
    let ledger = Ledger::new(share);
    let (pool, greedy, neighbour) = (Pool::default(), ledger.account(), ledger.account());
    let greedy = PodPool { pool: &pool, account: &greedy };
    let taken: Vec<_> = (0..100).map(|_| greedy.take(LARGEST)).collect();
    assert_eq!(taken.iter().filter(|buffer| buffer.len() == LARGEST).count(), 32);
    let neighbour = PodPool { pool: &pool, account: &neighbour };
    // Less by what the greedy pod always gets.
    let taken: Vec<_> = (0..15).map(|_| neighbour.take(LARGEST)).collect();
    assert!(taken.iter().all(|buffer| buffer.len() == LARGEST));
}

#[test]
fn a_shelf_keeps_no_more_than_its_share() {
    let bank = Bank::new(64 << 20);
    let many: Vec<_> = (0..10).map(|_| bank.pod().take(LARGEST)).collect();
    drop(many);
    assert_eq!(lock(bank.pool.shelf(LARGEST)).len(), KEPT / LARGEST);
}

// === impl Bank ===

impl Bank {
    fn new(bytes: usize) -> Self {
        let ledger = Ledger::new(Share { node: bytes, pod: bytes, reserve: 0 });
        Self { pool: Pool::default(), account: ledger.account(), ledger }
    }

    fn pod(&self) -> PodPool<'_> {
        PodPool { pool: &self.pool, account: &self.account }
    }
}
