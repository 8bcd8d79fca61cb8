use model::{ExclusionList, Exclusions, Origin};

use super::{entries, lists};

fn ports(text: &str) -> Vec<String> {
    let exclusions = Exclusions::parse(ExclusionList::OutboundPorts, text, Origin::Pod).unwrap();
    entries(&exclusions).iter().map(|entry| entry.what.to_string()).collect()
}

#[test]
fn a_range_of_ports_is_a_few_blocks() {
    for (range, blocks) in [
        ("80", &["80"][..]),
        ("8000-8010", &["8000-8007", "8008-8009", "8010"]),
        ("1-1", &["1"]),
        ("1-3", &["1", "2-3"]),
        ("32768-65535", &["32768-65535"]),
        ("65535", &["65535"]),
        ("65534-65535", &["65534-65535"]),
        ("80,80-81", &["80", "80-81"]),
    ] {
        assert_eq!(ports(range), blocks, "{range}");
    }
    assert_eq!(ports("1-65535").len(), 16);
    assert_eq!(ports("1-65534").len(), 30, "the most that a range can take");
}

#[test]
fn the_blocks_are_the_range_exactly() {
    for (first, last) in [(1, 65_535), (1, 65_534), (2, 65_535), (999, 1_001), (8_000, 8_010), (4_096, 8_192)]
    {
        let exclusions =
            Exclusions::parse(ExclusionList::InboundPorts, &format!("{first}-{last}"), Origin::Node).unwrap();
        let entries = entries(&exclusions);
        for port in 0..=u16::MAX {
            let addr = ([192, 0, 2, 1], port).into();
            let covering = entries.iter().filter(|entry| entry.what.covers(addr)).count();
            assert_eq!(covering, usize::from((first..=last).contains(&port)), "{port} of {first}-{last}");
        }
    }
}

#[test]
fn lists_that_are_empty_are_not_named() {
    let exclusions = Exclusions::parse(ExclusionList::InboundCidrs, "::/0", Origin::Pod).unwrap();
    assert_eq!(lists(&entries(&exclusions)), [ExclusionList::InboundCidrs].into());
    assert!(lists(&entries(&Exclusions::default())).is_empty());
}
