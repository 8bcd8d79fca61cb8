use super::{ExclusionList, Exclusions, ITEMS_MAX, Origin};
use ExclusionList::{InboundPorts, OutboundCidrs, OutboundPorts};

fn read(list: ExclusionList, text: &str) -> Result<Vec<String>, String> {
    let exclusions = Exclusions::parse(list, text, Origin::Pod).map_err(|e| e.to_string())?;
    Ok(exclusions.iter().map(|(exclusion, _)| exclusion.what.to_string()).collect())
}

#[test]
fn a_list_is_read() {
    for (list, text, items) in [
        (OutboundPorts, "80", &["80"][..]),
        (OutboundPorts, " 8000-8010 ,\t80\n", &["80", "8000-8010"]),
        (OutboundPorts, "80,80,80-80", &["80"]),
        (OutboundPorts, "1-65535", &["1-65535"]),
        (OutboundPorts, "", &[]),
        (OutboundPorts, "  ", &[]),
        (OutboundCidrs, "192.0.2.0/24, 2001:db8::/32", &["192.0.2.0/24", "2001:db8::/32"]),
        (OutboundCidrs, "::ffff:192.0.2.0/120,192.0.2.0/24", &["192.0.2.0/24"]),
    ] {
        let items: Vec<String> = items.iter().map(|&item| item.to_owned()).collect();
        assert_eq!(read(list, text), Ok(items), "{text:?}");
    }
}

#[test]
fn a_list_with_one_bad_item_is_refused_as_a_whole() {
    let no_port = "is not a port from 1 to 65535, nor a range like 8000-8010";
    for (text, why) in [
        ("0", format!("item 1, \"0\", {no_port}")),
        ("80,65536", format!("item 2, \"65536\", {no_port}")),
        ("80,-1", format!("item 2, \"-1\", {no_port}")),
        ("+80", format!("item 1, \"+80\", {no_port}")),
        ("90-80", format!("item 1, \"90-80\", {no_port}")),
        ("80-", format!("item 1, \"80-\", {no_port}")),
        ("80 - 90", format!("item 1, \"80 - 90\", {no_port}")),
        ("1-2-3", format!("item 1, \"1-2-3\", {no_port}")),
        ("0x50", format!("item 1, \"0x50\", {no_port}")),
        ("٨٠", format!("item 1, \"٨٠\", {no_port}")),
        ("http", format!("item 1, \"http\", {no_port}")),
        ("*", format!("item 1, \"*\", {no_port}")),
        ("99999999999999999999", format!("item 1, \"99999999999999999999\", {no_port}")),
        ("80\u{0}", format!("item 1, \"80\\0\", {no_port}")),
        ("80,,90", "item 2 is empty".to_owned()),
        ("80,", "item 2 is empty".to_owned()),
        (",", "item 1 is empty".to_owned()),
    ] {
        assert_eq!(read(OutboundPorts, text), Err(why), "{text:?}");
    }
    assert_eq!(
        read(OutboundCidrs, "192.0.2.0/24,192.0.2.1/24"),
        Err("item 2, \"192.0.2.1/24\", has bits set after the prefix: the network is 192.0.2.0/24".to_owned())
    );
    assert!(read(OutboundCidrs, "80").is_err());
    assert!(read(InboundPorts, "192.0.2.0/24").is_err());
}

#[test]
fn a_list_is_bounded() {
    let of = |count: usize| vec!["80"; count].join(",");
    assert_eq!(read(OutboundPorts, &of(ITEMS_MAX)), Ok(vec!["80".to_owned()]));
    assert_eq!(read(OutboundPorts, &of(ITEMS_MAX + 1)), Err("has more than 32 items".to_owned()));
    assert_eq!(read(OutboundPorts, &",".repeat(1 << 20)), Err("has more than 32 items".to_owned()));
}

#[test]
fn what_excludes_a_connection_is_found_with_its_origin() {
    let mut exclusions = Exclusions::parse(OutboundCidrs, "192.0.2.0/24", Origin::Node).unwrap();
    for (list, text) in
        [(OutboundCidrs, "192.0.2.0/24,2001:db8::/32"), (OutboundPorts, "80-90"), (InboundPorts, "443")]
    {
        exclusions.extend(&Exclusions::parse(list, text, Origin::Pod).unwrap());
    }
    for (list, addr, found) in [
        (OutboundCidrs, "192.0.2.7:1", Some(("192.0.2.0/24", Origin::Node))),
        (OutboundCidrs, "[::ffff:192.0.2.7]:1", Some(("192.0.2.0/24", Origin::Node))),
        (OutboundCidrs, "[2001:db8::1]:1", Some(("2001:db8::/32", Origin::Pod))),
        (OutboundCidrs, "198.51.100.1:85", None),
        (OutboundPorts, "198.51.100.1:85", Some(("80-90", Origin::Pod))),
        (OutboundPorts, "192.0.2.7:91", None),
        // Each direction has lists of its own.
        (OutboundPorts, "198.51.100.1:443", None),
        (InboundPorts, "198.51.100.1:443", Some(("443", Origin::Pod))),
    ] {
        let covering = exclusions.covering(list, addr.parse().unwrap());
        let covering = covering.map(|(exclusion, origin)| (exclusion.what.to_string(), origin));
        assert_eq!(covering, found.map(|(what, origin)| (what.to_owned(), origin)), "{list:?} {addr}");
    }
}
