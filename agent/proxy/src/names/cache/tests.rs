use resolver::Family;

use super::*;

const API: &str = "api.test";

/// A cache, and a clock that is moved by hand.
struct World {
    cache: Cache,
    start: Instant,
}

fn question(host: &str) -> Question {
    Question { host: host.into(), family: Family::V4 }
}

fn answered(ips: &[&str], ttl: u64) -> Outcome {
    let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    Outcome::Answered { ips, ttl: Duration::from_secs(ttl) }
}

fn failed() -> Outcome {
    Outcome::Failed("no reply".into())
}

impl World {
    fn new(capacity: usize) -> Self {
        Self { cache: Cache::new(capacity), start: Instant::now() }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn look(&mut self, host: &str, at: f64) -> String {
        let now = self.at(at);
        let last = |last: Option<Addresses>| last.map_or("nothing".to_owned(), |ips| format!("{ips:?}"));
        match self.cache.look(&question(host), now) {
            Known::Answer(ips) => format!("{ips:?}"),
            Known::Nothing { last: known } => format!("ask, meanwhile {}", last(known)),
            Known::Failure { because, last: known, is_due } => {
                format!("{because}{}: {}", if is_due { ", ask" } else { "" }, last(known))
            }
        }
    }

    fn learn(&mut self, host: &str, outcome: Outcome, at: f64) -> Option<Refresh> {
        let now = self.at(at);
        self.cache.learn(&question(host), outcome, now)
    }
}

#[test]
fn an_answer_is_good_for_its_time_within_bounds() {
    for (name, outcome, good, over) in [
        ("its own", answered(&["192.0.2.1"], 30), 29.9, 30.0),
        ("none is a second", answered(&["192.0.2.1"], 0), 0.9, 1.0),
        ("a week is an hour", answered(&["192.0.2.1"], 604_800), 3_599.9, 3_600.0),
        ("no address, none", answered(&[], 0), 0.9, 1.0),
        ("no address, a minute at most", answered(&[], 3_600), 59.9, 60.0),
    ] {
        let mut world = World::new(8);
        assert_eq!(world.look(API, 0.0), "ask, meanwhile nothing", "{name}");
        let ips = match &outcome {
            Outcome::Answered { ips, .. } => ips.clone(),
            Outcome::Failed(_) => unreachable!(),
        };
        world.learn(API, outcome, 0.0);
        assert_eq!(world.look(API, good), format!("{ips:?}"), "{name}");
        let last = if ips.is_empty() { "nothing".to_owned() } else { format!("{ips:?}") };
        assert_eq!(world.look(API, over), format!("ask, meanwhile {last}"), "{name}");
    }
}

#[test]
fn an_answer_that_is_used_is_asked_for_again_at_four_fifths_of_its_time() {
    let mut world = World::new(8);
    world.look(API, 0.0);
    let first = world.learn(API, answered(&["192.0.2.1"], 100), 0.0).unwrap();
    assert_eq!(first.after, Duration::from_secs(80));
    assert!(!world.cache.is_wanted(&question(API), first), "nobody has used it");
    world.look(API, 50.0);
    assert!(world.cache.is_wanted(&question(API), first));
    let second = world.learn(API, answered(&["192.0.2.2"], 100), 80.0).unwrap();
    assert!(!world.cache.is_wanted(&question(API), first), "no longer the last");
    assert!(!world.cache.is_wanted(&question(API), second), "not used since");
    assert_eq!(world.look(API, 179.0), "[192.0.2.2]");
    assert_eq!(world.learn(API, answered(&[], 100), 180.0), None, "what has no address is not refreshed");
}

#[test]
fn the_last_answer_goes_on_as_long_as_the_resolver_fails() {
    let mut world = World::new(8);
    world.look(API, 0.0);
    world.learn(API, answered(&["192.0.2.1"], 30), 0.0);
    // Refreshed ahead in vain.
    world.learn(API, failed(), 24.0);
    for (what, at, expected) in [
        ("its own time", 29.0, "[192.0.2.1]"),
        ("over, and the failure long past", 31.0, "no reply, ask: [192.0.2.1]"),
    ] {
        assert_eq!(world.look(API, at), expected, "{what}");
    }
    world.learn(API, failed(), 31.0);
    for (what, at, expected) in [
        ("asked just now", 31.9, "no reply: [192.0.2.1]"),
        ("a second later", 32.0, "no reply, ask: [192.0.2.1]"),
        ("days later", 200_000.0, "no reply, ask: [192.0.2.1]"),
    ] {
        assert_eq!(world.look(API, at), expected, "{what}");
    }
    world.learn(API, answered(&["192.0.2.9"], 30), 200_000.0);
    assert_eq!(world.look(API, 200_001.0), "[192.0.2.9]");
    world.learn(API, answered(&[], 30), 200_002.0);
    assert_eq!(world.look(API, 200_003.0), "[]", "that the name is gone is no failure");
    world.learn(API, failed(), 200_040.0);
    assert_eq!(world.look(API, 200_040.0), "no reply: nothing");
}

#[test]
fn a_name_that_never_had_an_answer_is_asked_for_once_a_second() {
    let mut world = World::new(8);
    world.look(API, 0.0);
    world.learn(API, failed(), 0.0);
    assert_eq!(world.look(API, 0.9), "no reply: nothing");
    assert_eq!(world.look(API, 1.0), "no reply, ask: nothing");
}

#[test]
fn the_name_whose_use_is_longest_ago_is_forgotten() {
    let mut world = World::new(2);
    for host in ["a.test", "b.test"] {
        world.look(host, 0.0);
        world.learn(host, answered(&["192.0.2.1"], 60), 0.0);
    }
    world.look("a.test", 1.0);
    world.look("c.test", 2.0);
    assert_eq!(world.learn("b.test", answered(&["192.0.2.2"], 60), 3.0), None, "forgotten while asked for");
    assert_eq!(world.look("a.test", 3.0), "[192.0.2.1]");
    assert_eq!(world.look("b.test", 3.0), "ask, meanwhile nothing");
    assert_eq!((world.cache.entries.len(), world.cache.by_use.len()), (2, 2));
}

#[test]
fn families_are_questions_of_their_own_and_answers_have_an_end() {
    let mut world = World::new(8);
    world.look(API, 0.0);
    let many: Vec<_> = (0..1_000_u32).map(|n| IpAddr::from(n.to_be_bytes())).collect();
    world.learn(API, Outcome::Answered { ips: many, ttl: TTL.1 }, 0.0);
    let now = world.start;
    let Known::Answer(ips) = world.cache.look(&question(API), now) else { panic!("no answer") };
    assert_eq!(ips.len(), MOST_ADDRESSES);
    let v6 = Question { family: Family::V6, ..question(API) };
    assert_eq!(world.cache.look(&v6, now), Known::Nothing { last: None });
}
