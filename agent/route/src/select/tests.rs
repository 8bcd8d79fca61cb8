use std::cell::RefCell;

use model::EndpointState;

use super::*;

#[test]
fn choices() {
    let endpoints: Vec<_> = (1..=3).map(endpoint).collect();
    for (name, draws, loads, sticky, expected) in [
        ("the less loaded of the two drawn", [0, 0], [5, 4, 0], None, 2),
        ("the first drawn when they are even", [1, 0], [1, 1, 1], None, 2),
        ("never the same twice", [2, 1], [9, 9, 9], None, 3),
        ("the second moves past the first", [1, 1], [9, 9, 0], None, 3),
        ("the remembered one, however loaded", [0, 0], [0, 0, 99], Some(3), 3),
        ("a remembered one that is gone", [0, 1], [7, 0, 3], Some(8), 3),
    ] {
        let draws = RefCell::new(draws.into_iter());
        let candidates = Candidates::new(endpoints.iter().collect()).unwrap();
        let load = |addr: EndpointAddr| loads[usize::from(addr.port()) - 1];
        let chosen = select(&candidates, sticky.map(|n| endpoint(n).addr), load, |_| {
            draws.borrow_mut().next().unwrap()
        });
        assert_eq!(chosen.addr.port(), expected, "{name}");
    }
}

#[test]
fn a_single_candidate_needs_no_dice() {
    let only = endpoint(1);
    let candidates = Candidates::new(vec![&only]).unwrap();
    assert_eq!(select(&candidates, None, |_| 0, |_| panic!("no draw")).addr, only.addr);
}

#[test]
fn no_candidates_are_none() {
    assert_eq!(Candidates::new(vec![]), None);
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint {
        addr: EndpointAddr(([192, 0, 2, 1], port).into()),
        state: EndpointState::Ready,
        node: None,
        pod: None,
        hostname: None,
    }
}
