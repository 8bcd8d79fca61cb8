use model::{ExclusionList, Exclusions, Origin};

use super::{key, read};
use crate::exclusions::entries;

#[test]
fn what_is_written_is_what_is_read() {
    for (list, text) in [
        (ExclusionList::OutboundCidrs, "0.0.0.0/0,192.0.2.0/24,192.0.2.1/32,::/0,2001:db8::/33,::1/128"),
        (ExclusionList::InboundCidrs, "198.51.100.0/25"),
        (ExclusionList::OutboundPorts, "80,8000-8010,1-65535"),
        (ExclusionList::InboundPorts, "65535"),
    ] {
        for exclusion in entries(&Exclusions::parse(list, text, Origin::Pod).unwrap()) {
            assert_eq!(read(&key(0x1234, exclusion)), Some((0x1234, exclusion)));
        }
    }
}

#[test]
fn ipv6_as_a_whole_is_not_ipv4() {
    let entry = |text| {
        let exclusions = Exclusions::parse(ExclusionList::OutboundCidrs, text, Origin::Pod).unwrap();
        key(1, *entries(&exclusions).first().unwrap())
    };
    assert_ne!(entry("::/0").data().family, entry("0.0.0.0/0").data().family);
    assert_eq!([entry("::/0"), entry("0.0.0.0/0")].map(|key| key.prefix_len()), [96, 96 + 96]);
}
