use super::{
    Action, Collision, Hook, Mark, MarkedSocket, Neighbours, Rule, SocketKind, Stranger, collisions, priority,
};
use crate::{Family, Steering};

const C: u32 = 0x1000_0000;
const A: u32 = 0x2000_0000;
const TABLE: u32 = 15_001;
const LOCAL: u32 = 255;
const MAIN: u32 = 254;

fn rule(priority: u32, mark: Option<(u32, u32)>, action: Action) -> Rule {
    Rule {
        family: Family::V4,
        priority,
        inverted: false,
        mark: mark.map(|(value, mask)| Mark { value, mask }),
        action,
        text: String::new(),
    }
}

fn not(rule: Rule) -> Rule {
    Rule { inverted: true, ..rule }
}

/// What a new namespace has.
fn with(more: impl IntoIterator<Item = Rule>) -> Vec<Rule> {
    let mut rules = vec![rule(0, None, Action::Lookup(LOCAL)), rule(32_766, None, Action::Lookup(MAIN))];
    rules.extend(more);
    rules
}

fn ours(priority: u32) -> Rule {
    rule(priority, Some((C, C)), Action::Lookup(TABLE))
}

#[test]
fn our_rule_stands_before_all_that_would_take_what_it_is_for() {
    let lookup = Action::Lookup(7);
    for (case, others, expected) in [
        ("nobody else", vec![], Some(100)),
        ("ours already", vec![ours(100)], Some(100)),
        ("later ones do no harm", vec![rule(101, None, lookup)], Some(100)),
        ("at the same preference", vec![rule(100, None, lookup)], Some(99)),
        ("before ours", vec![ours(100), rule(99, None, lookup)], Some(98)),
        ("before the first of several", vec![rule(70, None, lookup), rule(40, None, lookup)], Some(39)),
        ("by an address that some packet has", vec![rule(5, None, lookup)], Some(4)),
        (
            "a whole mark that no captured packet has",
            vec![rule(5, Some((0xca6c, u32::MAX)), lookup)],
            Some(100),
        ),
        ("bits of the application's own", vec![rule(5, Some((0x8, 0x8)), lookup)], Some(4)),
        ("the agent's bit, which no captured packet has", vec![rule(5, Some((A, A)), lookup)], Some(100)),
        ("whatever has not a mark", vec![not(rule(5, Some((0xca6c, u32::MAX)), lookup))], Some(4)),
        ("a prohibition", vec![rule(5, None, Action::Other)], Some(4)),
        ("one that does nothing", vec![rule(5, None, Action::Nothing)], Some(100)),
        ("the local table a second time", vec![rule(5, None, Action::Lookup(LOCAL))], Some(100)),
        ("no room", vec![rule(1, None, lookup)], None),
        ("beside the local table", vec![rule(0, None, lookup)], None),
    ] {
        assert_eq!(priority(&with(others), &Steering::default()), expected, "{case}");
    }
}

#[test]
fn what_cannot_go_together_is_named() {
    let rules = |more: Rule| Neighbours { rules: with([more]), ..Neighbours::default() };
    let socket = |kind, mark| Neighbours {
        sockets: vec![MarkedSocket { kind, local: "192.0.2.1:80".parse().unwrap(), mark }],
        ..Neighbours::default()
    };
    let program = Stranger { hook: Hook::AfterSteer, name: "theirs".to_owned(), id: 7 };
    let lookup = Action::Lookup(7);
    for (case, found, named, fatal) in [
        ("ours", rules(ours(99)), None, false),
        ("a VPN", rules(not(rule(50, Some((0xca6c, u32::MAX)), lookup))), None, false),
        ("no room before it", rules(rule(1, None, lookup)), Some("give it a preference of 2 or more"), true),
        ("our bit C", rules(rule(200, Some((C, 0xf000_0000)), lookup)), Some("steering.marks"), true),
        ("our bit A", rules(rule(200, Some((A, A)), lookup)), Some("steering.marks"), true),
        ("a mask with our bits", rules(rule(200, Some((1, u32::MAX)), lookup)), Some("whole mark"), false),
        ("a mask without them", rules(rule(200, Some((1, 0xffff)), lookup)), None, false),
        ("our table", rules(rule(200, None, Action::Lookup(TABLE))), Some("steering.table"), true),
        (
            "routes in our table",
            Neighbours { routes: vec![Family::V6], ..Neighbours::default() },
            Some("table 15001 has IPv6 routes"),
            true,
        ),
        ("a connection with bit C", socket(SocketKind::Connected, C | 1), Some("steering.marks"), true),
        ("a connection with its own bits", socket(SocketKind::Connected, 0x539), None, false),
        ("a listener with a mark", socket(SocketKind::Listening, 0x539), Some("192.0.2.1:80"), false),
        ("a listener with bit C too", socket(SocketKind::Listening, C | 1), None, false),
        (
            "a program that has the last word",
            Neighbours { programs: vec![program], ..Neighbours::default() },
            Some("theirs (id 7)"),
            false,
        ),
    ] {
        let collisions = collisions(&found, &Steering::default(), true);
        match (named, &collisions[..]) {
            (None, []) => {}
            (Some(named), [collision]) => {
                assert!(collision.to_string().contains(named), "{case}: {collision}");
                assert_eq!(collision.is_fatal(), fatal, "{case}");
            }
            (_, found) => panic!("{case}: {found:?}"),
        }
    }
}

#[test]
fn marks_of_our_own_making_are_none() {
    let local = "192.0.2.1:40000".parse().unwrap();
    let sockets = vec![MarkedSocket { kind: SocketKind::Connected, local, mark: C }];
    let found = Neighbours { sockets, ..Neighbours::default() };
    assert_eq!(collisions(&found, &Steering::default(), false), []);
    assert_eq!(
        collisions(&found, &Steering::default(), true),
        [Collision::SocketMark { local, mark: C, bit: C }]
    );
}
