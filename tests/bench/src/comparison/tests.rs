use super::Comparison;
use crate::{
    report::Report,
    road::Road,
    workload::{Figure, Sample, Workload},
};

#[test]
fn a_table_of_medians_and_their_ratio_to_direct() {
    let mut comparison = Comparison::default();
    for (road, rates) in [
        (Road::Direct, [8_000.0, 6_000.0, 7_000.0]),
        (Road::Ours, [3_000.0, 9_000.0, 2_800.0]),
        (Road::Redirect, [2_000.0, 2_100.0, 1_900.0]),
    ] {
        for rate in rates {
            let figures = vec![(Figure::Connect1, rate)];
            let sample =
                Sample { figures, units: rate, machine: rate / 1e4, proxy: rate / 1e5, peak: Some(10 << 20) };
            comparison.add(Workload::Connect1, road, sample);
        }
    }
    let mut report = Report::default();
    comparison.report(&mut report);
    let speed = report.sections[0].table.to_string();
    for cell in ["7 000", "3 000 (0.43)", "2 000 (0.29)"] {
        assert!(speed.contains(cell), "no {cell:?} in\n{speed}");
    }
    let cost = report.sections[1].table.to_string();
    assert!(cost.contains("connect-1, µs per connection") && cost.contains("10.0 MiB"), "{cost}");
    let [target] = &report.targets[..] else { panic!("{:?}", report.targets) };
    assert_eq!((target.wanted.as_str(), target.found.as_str(), target.met), ("≥ 0.5", "0.43", false));
}
