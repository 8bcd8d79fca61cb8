use super::{Bound, Wrk, microseconds};

const WRK: &str = "\
Running 1s test @ http://10.1.0.3:8080/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   158.77us   39.63us   2.22ms   88.30%
    Req/Sec    99.41k     2.98k  103.42k    81.82%
  Latency Distribution
     50%  154.00us
     99%    1.29ms
  108876 requests in 1.10s, 23.78MB read
Requests/sec:  98982.47
Transfer/sec:     21.62MB
";

#[test]
fn what_wrk_prints() {
    let found = Wrk::parse(WRK).unwrap();
    assert_eq!(found, Wrk { requests: 108_876.0, per_second: 98_982.47, p99_us: 1_290.0 });
}

#[test]
fn errors_that_wrk_met_are_not_a_result() {
    let errors = "  Socket errors: connect 0, read 3, write 0, timeout 0\n";
    for text in [format!("{WRK}{errors}"), format!("{WRK}  Non-2xx or 3xx responses: 7\n"), String::new()] {
        assert!(Wrk::parse(&text).is_err(), "{text}");
    }
}

#[test]
fn times_with_their_unit() {
    for (text, expected) in [
        ("250ns", Some(0.25)),
        ("154.00us", Some(154.0)),
        ("1.5µs", Some(1.5)),
        ("12.25ms", Some(12_250.0)),
        ("2s", Some(2e6)),
        ("12", None),
        ("ms", None),
        ("3 weeks", None),
    ] {
        assert_eq!(microseconds(text), expected, "{text}");
    }
}

#[test]
fn bounds_include_their_value() {
    assert!(Bound::AtLeast(0.5).holds(0.5) && !Bound::AtLeast(0.5).holds(0.49));
    assert!(Bound::AtMost(1.25).holds(1.25) && !Bound::AtMost(1.25).holds(1.26));
}
