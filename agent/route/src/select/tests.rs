use std::cell::RefCell;

use model::EndpointState;

use super::*;

static UNWEIGHTED: BTreeMap<EndpointAddr, NonZeroU32> = BTreeMap::new();

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
        let candidates = Candidates::new(endpoints.iter().collect(), &UNWEIGHTED).unwrap();
        let load = |addr: EndpointAddr| loads[usize::from(addr.port()) - 1];
        let chosen = select(&candidates, sticky.map(|n| endpoint(n).addr), load, |_| {
            draws.borrow_mut().next().unwrap()
        });
        assert_eq!(chosen.addr.port(), expected, "{name}");
    }
}

#[test]
fn choices_by_weight() {
    let endpoints: Vec<_> = (1..=3).map(endpoint).collect();
    // Of 10 tickets the first five are the first's, one the second's, which nobody gave a weight, the others the third's.
    let weights = weights(&[(1, 5), (3, 4)]);
    for (name, draws, loads, sticky, expected) in [
        ("the first of all tickets", [0, 0], [0, 0, 0], None, 1),
        ("the last of one's tickets", [4, 0], [0, 0, 0], None, 1),
        ("the only one of another", [5, 0], [0, 0, 0], None, 2),
        ("the last of all", [9, 0], [0, 0, 0], None, 3),
        ("twice the load for less than half the weight", [5, 0], [9, 2, 0], None, 1),
        ("no less for its weight than the first", [0, 0], [5, 1, 0], None, 1),
        ("a little more than its weight allows", [0, 0], [6, 1, 0], None, 2),
        ("the second is never the first again", [9, 4], [0, 0, 1], None, 1),
        ("the second moves past the first", [0, 1], [9, 9, 0], None, 3),
        ("the remembered one, whatever it weighs", [0, 0], [0, 0, 0], Some(2), 2),
    ] {
        let draws = RefCell::new(draws.into_iter());
        let candidates = Candidates::new(endpoints.iter().collect(), &weights).unwrap();
        let load = |addr: EndpointAddr| loads[usize::from(addr.port()) - 1];
        let chosen = select(&candidates, sticky.map(|n| endpoint(n).addr), load, |_| {
            draws.borrow_mut().next().unwrap()
        });
        assert_eq!(chosen.addr.port(), expected, "{name}");
    }
}

/// Short connections, of which none is open when the next one comes, and long ones, of which all are.
#[test]
fn shares_are_as_weights_say() {
    const ALL: usize = 8_000;
    let endpoints: Vec<_> = (1..=3).map(endpoint).collect();
    let cases = [
        ("none has one", weights(&[]), [1, 1, 1]),
        ("all have the same", weights(&[(1, 7), (2, 7), (3, 7)]), [1, 1, 1]),
        ("one has three times as much", weights(&[(2, 3)]), [1, 3, 1]),
        ("one has nearly everything", weights(&[(1, u32::MAX)]), [ALL, 0, 0]),
    ];
    for (name, weights, parts) in cases {
        for stay in [false, true] {
            let candidates = Candidates::new(endpoints.iter().collect(), &weights).unwrap();
            let mut dice = Dice(1);
            let (mut open, mut taken) = ([0; 3], [0_usize; 3]);
            for _ in 0..ALL {
                let load = |addr: EndpointAddr| open[usize::from(addr.port()) - 1];
                let chosen = usize::from(select(&candidates, None, load, |n| dice.roll(n)).addr.port()) - 1;
                taken[chosen] += 1;
                open[chosen] += usize::from(stay);
            }
            for (taken, part) in taken.into_iter().zip(parts) {
                let expected = ALL * part / parts.iter().sum::<usize>();
                assert!(taken.abs_diff(expected) < ALL / 40, "{name}, open: {stay}: {taken}, not {expected}");
            }
        }
    }
}

/// SplitMix64: the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ bits >> 31) % u64::try_from(sides).unwrap()).unwrap()
    }
}

fn weights(of: &[(u16, u32)]) -> BTreeMap<EndpointAddr, NonZeroU32> {
    of.iter().map(|&(port, weight)| (endpoint(port).addr, NonZeroU32::new(weight).unwrap())).collect()
}

#[test]
fn a_single_candidate_needs_no_dice() {
    let only = endpoint(1);
    for weights in [UNWEIGHTED.clone(), weights(&[(1, 7)])] {
        let candidates = Candidates::new(vec![&only], &weights).unwrap();

        assert_eq!(select(&candidates, None, |_| 0, |_| panic!("no draw")).addr, only.addr);
    }
}

#[test]
fn no_candidates_are_none() {
    assert_eq!(Candidates::new(vec![], &UNWEIGHTED), None);
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
