use super::{Enrolments, Event, PODS};

fn line(at: &str, event: &str, pod: &str, took: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-01-01T00:00:{at}Z","level":"INFO","message":"{event}","pod":"{pod}","step":"Guard {{ ifindex: 2 }}","took":"{took}"}}"#
    )
}

#[test]
fn the_agents_log_tells_of_captured_pods_and_of_the_steps_of_each() {
    let captured = Event::read(&line("01.250", "Pod captured", "crowd/pod1", "12.5ms"), "crowd").unwrap();
    let Event::Captured { at, took } = captured else { panic!("{captured:?}") };
    assert_eq!((at.as_millisecond() % 60_000, took.as_micros()), (1_250, 12_500));
    let step = Event::read(&line("01.250", "Step taken", "crowd/pod1", "800µs"), "crowd").unwrap();
    let Event::Step { pod, kind, took } = step else { panic!("{step:?}") };
    assert_eq!((&*pod, &*kind, took.as_micros()), ("crowd/pod1", "Guard", 800));
    for (case, other) in [
        ("another namespace", line("01.250", "Pod captured", "bench/client", "12.5ms")),
        ("another event", line("01.250", "Pod released", "crowd/pod1", "12.5ms")),
        ("no JSON", "Pod captured".to_owned()),
    ] {
        assert_eq!(Event::read(&other, "crowd"), None, "{case}");
    }
}

#[test]
fn pods_at_once_take_from_the_first_begin_to_the_last_end() {
    // One begins 10 ms after the other; each takes 20 ms, of which 8 and 4 for two interfaces.
    let lines: Vec<String> = (0..PODS)
        .flat_map(|number| {
            let (at, pod) = (format!("01.{:03}", 20 + 10 * number), format!("crowd/{number}"));
            let step = |took| line(&at, "Step taken", &pod, took);
            [step("8ms"), step("4ms"), line(&at, "Pod captured", &pod, "20ms")]
        })
        .collect();
    let found = Enrolments::read(lines.iter().map(|line| &**line), "crowd").unwrap();
    for (what, found, expected) in [
        ("all", found.all, 20.0 + 10.0 * (PODS - 1) as f64),
        ("one", found.pod, 20.0),
        ("its guards", found.guard, 12.0),
        ("steer", found.steer, 0.0),
        ("the rest", found.rest(), 8.0),
    ] {
        assert!((found - expected).abs() < 0.001, "{what}: {found}");
    }
    assert!(Enrolments::read([].into_iter(), "crowd").is_err(), "nobody was captured");
}
