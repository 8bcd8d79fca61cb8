use super::{Comparison, Question, Sample, Way};
use crate::report::Report;

#[test]
fn medians_beside_dnsmasq() {
    let mut comparison = Comparison::default();
    for question in [Question::Service, Question::Forwarded] {
        for (way, p50s, rate) in [
            (Way::Dnsmasq, [20.0, 30.0, 25.0], 50_000.0),
            (Way::Ours, [26.0, 99.0, 30.0], 30_000.0),
            (Way::OverLo, [15.0, 10.0, 14.0], 60_000.0),
        ] {
            let samples =
                p50s.map(|p50| Sample { p50, p99: 2.0 * p50, rate, machine: 20.0, agent: 0.0, lost: 0.0 });
            comparison.0.insert((question, way), samples.to_vec());
        }
    }
    let mut report = Report::default();
    comparison.report(&mut report);
    let latency = report.sections[0].table.to_string();
    for cell in ["| service, p50 µs", "25.0 |", "30.0 (1.20)", "14.0 (0.56)", "| name outside, p99 µs"] {
        assert!(latency.contains(cell), "no {cell:?} in\n{latency}");
    }
    assert!(!latency.contains("allocated"), "it was not asked for\n{latency}");
    let throughput = report.sections[1].table.to_string();
    for cell in ["30 000 (0.60)", "| service, lost of a million", "0.00 |"] {
        assert!(throughput.contains(cell), "no {cell:?} in\n{throughput}");
    }
    let targets: Vec<_> = report.targets.iter().map(|t| (&*t.what, &*t.wanted, &*t.found, t.met)).collect();
    assert_eq!(
        targets,
        [
            ("service, p50: ours ÷ dnsmasq", "≤ 1.3", "1.20", true),
            ("service, queries/s: ours ÷ dnsmasq", "≥ 0.77", "0.60", false),
        ],
        "what is forwarded has no target"
    );
}
