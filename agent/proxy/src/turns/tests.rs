use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use super::*;

/// One look at a stream that waits for its turn.
fn has_its_turn(next: Pin<&mut impl Future<Output = ()>>) -> bool {
    next.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
}

#[test]
fn what_is_small_goes_without_a_turn() {
    let turns = Turns::at_once(1);
    for (name, reads, wants_a_turn) in [
        ("a request", &[2_000][..], false),
        ("all that is free", &[FREE - 1], false),
        ("a byte more", &[FREE], true),
        ("many single bytes", &[1; FREE / LEAST_COUNT], true),
        ("fewer of them", &[1; FREE / LEAST_COUNT - 1], false),
    ] {
        let mut turn = turns.begin();
        reads.iter().for_each(|&read| turn.count(read));
        assert_eq!(turn.is_over_before(1), wants_a_turn, "{name}");
    }
    assert!(
        turns.begin().is_over_before(FREE + 1),
        "what is known to be more than that waits before it begins"
    );
}

#[tokio::test]
async fn the_streams_of_a_pod_take_turns_in_the_order_in_which_they_came() {
    let turns = Turns::at_once(1);
    let [mut first, mut second, mut third] = [(); 3].map(|()| turns.begin());
    first.next().await;
    first.count(TURN - 1);
    assert!(!first.is_over_before(1));
    {
        let (mut second, mut third) = (Box::pin(second.next()), Box::pin(third.next()));
        assert!(!has_its_turn(second.as_mut()) && !has_its_turn(third.as_mut()));
        first.count(1);
        assert!(first.is_over_before(1));
        let mut first = Box::pin(first.next());
        assert!(!has_its_turn(first.as_mut()), "it queues behind those that waited");
        assert!(!has_its_turn(third.as_mut()), "nor has the last overtaken the second");
        assert!(has_its_turn(second.as_mut()));
        // The others give up their places here.
    }
    second.pass();
    let mut another = turns.begin();
    assert!(
        has_its_turn(pin!(another.next())),
        "a turn that was passed is not lost, nor one that is not waited for"
    );
}

#[tokio::test]
async fn a_turn_is_long_where_nobody_of_the_pod_waits() {
    let turns = Turns::at_once(2);
    let mut lone = turns.begin();
    lone.next().await;
    lone.count(TURN);
    assert!(!lone.is_over_before(1));
    let mut another = turns.begin();
    another.next().await;
    assert!(lone.is_over_before(1), "now all turns are taken");
    drop(another);
    lone.count(LONG_TURN - TURN);
    assert!(lone.is_over_before(1));
}
