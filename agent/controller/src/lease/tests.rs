use super::*;

fn at(second: i64) -> MicroTime {
    MicroTime(Timestamp::from_second(second).unwrap())
}

fn spec(holder: &str, seconds: i32, renewed: i64, transitions: i32) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(seconds),
        acquire_time: Some(at(0)),
        renew_time: Some(at(renewed)),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    }
}

/// `holder, acquired, transitions`, or who is waited for.
fn told(next: Move) -> String {
    match next {
        Move::Wait(holder) => format!("wait for {holder}"),
        Move::Write(spec) => {
            assert_eq!(spec.lease_duration_seconds, Some(15));
            let acquired = spec.acquire_time.map(|time| time.0.as_second());
            let renewed = spec.renew_time.map(|time| time.0.as_second());
            assert_eq!(renewed, Some(1_000));
            format!(
                "{}, {}, {}",
                spec.holder_identity.unwrap(),
                acquired.unwrap(),
                spec.lease_transitions.unwrap()
            )
        }
    }
}

#[test]
fn a_lease_is_its_holders_until_it_was_seen_unchanged_for_as_long_as_it_is_for() {
    let alive = spec("other", 15, 900, 3);
    let renewed = spec("other", 15, 902, 3);
    for (name, seen, expected) in [
        ("nobody's", vec![(LeaseSpec::default(), 0)], "me, 1000, 1"),
        ("released", vec![(spec("", 1, 900, 3), 0)], "me, 1000, 4"),
        ("one's own", vec![(spec("me", 15, 900, 3), 0)], "me, 0, 3"),
        ("one's own of long ago", vec![(spec("me", 15, 0, 3), 0)], "me, 0, 3"),
        ("another's, seen first", vec![(alive.clone(), 0)], "wait for other"),
        ("another's, whatever its clock says", vec![(spec("other", 15, 0, 3), 0)], "wait for other"),
        ("another's, 14 s later", vec![(alive.clone(), 0), (alive.clone(), 14)], "wait for other"),
        ("another's, 15 s later", vec![(alive.clone(), 0), (alive.clone(), 15)], "me, 1000, 4"),
        (
            "renewed meanwhile",
            vec![(alive.clone(), 0), (renewed.clone(), 10), (renewed, 24)],
            "wait for other",
        ),
        (
            "for years",
            vec![(spec("other", i32::MAX, 900, 3), 0), (spec("other", i32::MAX, 900, 3), 60)],
            "me, 1000, 4",
        ),
        ("for less than nothing", vec![(spec("other", -5, 900, 3), 0)], "wait for other"),
        ("counted to the end", vec![(spec("", 1, 900, i32::MAX), 0)], "me, 1000, 2147483647"),
    ] {
        let mut candidate = Candidate::new("me");
        let begun = Instant::now();
        let mut next = None;
        for (spec, second) in seen {
            let at = begun + Duration::from_secs(second);
            next = Some(candidate.next(&spec, Timestamp::from_second(1_000).unwrap(), at));
        }
        assert_eq!(told(next.unwrap()), expected, "{name}");
    }
}

#[test]
fn what_is_released_is_anybodys_at_once() {
    let released = released(&spec("me", 15, 900, 3), Timestamp::from_second(1_000).unwrap());
    let next =
        Candidate::new("other").next(&released, Timestamp::from_second(1_000).unwrap(), Instant::now());
    assert_eq!(told(next), "other, 1000, 4");
}
