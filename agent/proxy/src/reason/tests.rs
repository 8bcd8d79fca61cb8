use super::*;

#[test]
fn labels_are_what_serde_writes() {
    for reason in Reason::ALL {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.label());
    }
}

#[test]
fn each_reason_has_a_counter_of_its_own() {
    let counters = Counters::default();
    for (times, &reason) in Reason::ALL.iter().enumerate() {
        (0..times).for_each(|_| counters.count(reason));
    }
    let expected: Vec<_> = Reason::ALL.iter().copied().zip(0..).collect();
    assert_eq!(counters.read(), expected);
}
