use super::{ip, is_tcp, name, path, port, port_name, uid};

#[test]
fn an_address_is_unicast_and_has_one_spelling() {
    for (text, taken) in [
        ("192.0.2.1", Some("192.0.2.1")),
        ("2001:DB8:0::1", Some("2001:db8::1")),
        ("::ffff:192.0.2.1", Some("192.0.2.1")),
        ("0.0.0.0", None),
        ("::", None),
        ("127.0.0.2", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("224.0.0.1", None),
        ("ff02::1", None),
        ("255.255.255.255", None),
        ("192.0.2.1/24", None),
        ("192.0.2.01", None),
        (" 192.0.2.1", None),
        ("fe80::1%eth0", None),
        ("localhost", None),
        ("", None),
    ] {
        let got = ip("ip", text).ok().map(|ip| ip.to_string());
        assert_eq!(got.as_deref(), taken, "{text}");
    }
}

#[test]
fn a_port_is_1_to_65535() {
    for (number, taken) in
        [(1, true), (65_535, true), (0, false), (-1, false), (65_536, false), (i32::MAX, false)]
    {
        assert_eq!(port("port", number).is_ok(), taken, "{number}");
    }
}

#[test]
fn protocols_are_spelled_as_kubernetes_spells_them() {
    for (protocol, tcp) in [
        (None, Some(true)),
        (Some("TCP"), Some(true)),
        (Some("UDP"), Some(false)),
        (Some("SCTP"), Some(false)),
        (Some("tcp"), None),
        (Some(""), None),
    ] {
        assert_eq!(is_tcp("protocol", protocol).ok(), tcp, "{protocol:?}");
    }
}

#[test]
fn names() {
    for (text, taken) in [
        ("cart", true),
        ("cart-0.shop", true),
        ("0", true),
        ("", false),
        ("-cart", false),
        ("cart.", false),
        ("Cart", false),
        ("../cart", false),
        ("a/b", false),
        ("a\nb", false),
        (&"a".repeat(253), true),
        (&"a".repeat(254), false),
    ] {
        assert_eq!(name("name", text).is_ok(), taken, "{text:?}");
    }
    for (text, taken) in
        [("http", true), ("http-2", true), ("8080", false), ("", false), ("web_admin", false)]
    {
        assert_eq!(port_name("name", text).is_ok(), taken, "{text:?}");
    }
    for (text, taken) in
        [("4f1c-99", true), ("shop.cart_1", true), ("", false), ("..", false), ("a/b", false)]
    {
        assert_eq!(uid("uid", text).is_ok(), taken, "{text:?}");
    }
}

#[test]
fn paths() {
    for (text, taken) in [
        ("/run/netns/a", Some("/run/netns/a")),
        ("//run/./netns/a/", Some("/run/netns/a")),
        ("/run/../run/netns/a", None),
        ("run/netns/a", None),
        ("", None),
        ("/run/\0", None),
    ] {
        let got = path("netns", text).ok();
        assert_eq!(got.as_deref().and_then(|p| p.to_str()), taken, "{text:?}");
    }
}
