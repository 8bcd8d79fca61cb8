use super::{Captured, span};

fn line(at: &str, pod: &str, took: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-01-01T00:00:{at}Z","level":"INFO","message":"Pod captured","pod":"{pod}","took":"{took}","target":"app::enroller"}}"#
    )
}

#[test]
fn the_agents_log_tells_of_captured_pods() {
    let found = Captured::read(&line("01.250", "crowd/pod1", "12.5ms"), "crowd").unwrap();
    assert_eq!((found.at.as_millisecond() % 60_000, found.took.as_micros()), (1_250, 12_500));
    for (case, other) in [
        ("another namespace", line("01.250", "bench/client", "12.5ms")),
        ("another event", line("01.250", "crowd/pod1", "12.5ms").replace("Pod captured", "Pod released")),
        ("no JSON", "Pod captured".to_owned()),
    ] {
        assert_eq!(Captured::read(&other, "crowd"), None, "{case}");
    }
}

#[test]
fn pods_at_once_take_from_the_first_begin_to_the_last_end() {
    let lines = [
        line("01.010", "crowd/a", "10ms"),
        line("01.030", "crowd/b", "20ms"),
        line("01.060", "crowd/c", "30ms"),
    ];
    let captured: Vec<_> = lines.iter().filter_map(|line| Captured::read(line, "crowd")).collect();
    let (all, each) = span(&captured).unwrap();
    assert!((all - 60.0).abs() < 0.001 && (each - 20.0).abs() < 0.001, "{all} {each}");
    assert!(span(&[]).is_none());
}
