use super::*;
use crate::fair::Exceeded;

const SHARE: Share = Share { node: 100, pod: 100, reserve: 16 };

#[test]
fn what_is_given_back_is_there_for_others() {
    let ledger = Ledger::new(SHARE);
    let (greedy, neighbour) = (ledger.account(), ledger.account());
    greedy.take(84).unwrap();
    assert_eq!(greedy.take(1).unwrap_err().exceeded, Exceeded::Reserve);
    neighbour.take(2).unwrap();
    assert_eq!(neighbour.take(1).unwrap_err().exceeded, Exceeded::Reserve);
    greedy.give_back(84);
    neighbour.take(80).unwrap();
    neighbour.give_back(82);
    assert_eq!(ledger.used(), 0);
}

#[test]
fn what_is_overdrawn_is_counted() {
    let ledger = Ledger::new(SHARE);
    let pod = ledger.account();
    pod.overdraw(200);
    assert_eq!(pod.take(1).unwrap_err().exceeded, Exceeded::Pod);
    pod.give_back(200);
    pod.take(1).unwrap();
    assert_eq!(ledger.used(), 1);
}

#[test]
fn a_pod_that_has_gone_leaves_its_part_to_the_others() {
    let share = Share { node: 100, pod: 100, reserve: 100 };
    let ledger = Ledger::new(share);
    let pods: Vec<_> = (0..50).map(|_| ledger.account()).collect();
    assert_eq!(pods[0].take(3).unwrap_err().exceeded, Exceeded::Reserve);
    let first = pods.into_iter().next().unwrap();
    first.take(12).unwrap();
}
