use std::net::IpAddr;

use super::Cidr;

#[test]
fn a_network_has_one_spelling() {
    for (written, read) in [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.1/32", "192.0.2.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        // Wider than the mapped addresses: IPv6.
        ("::/80", "::/80"),
    ] {
        assert_eq!(written.parse::<Cidr>().unwrap().to_string(), read, "{written}");
    }
}

#[test]
fn what_is_no_network_is_refused_with_what_it_might_be() {
    for (written, why) in [
        ("192.0.2.1/24", "has bits set after the prefix: the network is 192.0.2.0/24"),
        ("2001:db8::1/64", "has bits set after the prefix: the network is 2001:db8::/64"),
        ("::ffff:192.0.2.1/120", "has bits set after the prefix: the network is 192.0.2.0/24"),
        ("192.0.2.1", "has no prefix length: 192.0.2.1/32 is that one address"),
        ("::ffff:192.0.2.1", "has no prefix length: 192.0.2.1/32 is that one address"),
        ("2001:db8::1", "has no prefix length: 2001:db8::1/128 is that one address"),
        ("192.0.2.0/33", "has more bits than the 32 of such an address"),
        ("::/129", "has more bits than the 128 of such an address"),
        ("192.0.2.0/+24", "is not a network like 192.0.2.0/24 or 2001:db8::/32"),
        ("192.0.2.0/-1", "is not a network like 192.0.2.0/24 or 2001:db8::/32"),
        ("192.0.2.0/256", "is not a network like 192.0.2.0/24 or 2001:db8::/32"),
        ("192.0.2.0/", "is not a network like 192.0.2.0/24 or 2001:db8::/32"),
        ("192.0.2/24", "is not a network like 192.0.2.0/24 or 2001:db8::/32"),
        ("010.0.0.0/8", "is not a network like 192.0.2.0/24 or 2001:db8::/32"),
        ("10.0.0.0/8/8", "is not a network like 192.0.2.0/24 or 2001:db8::/32"),
        ("fe80::%eth0/64", "is not a network like 192.0.2.0/24 or 2001:db8::/32"),
        ("example.org/24", "is not a network like 192.0.2.0/24 or 2001:db8::/32"),
        ("*", "is not a network like 192.0.2.0/24 or 2001:db8::/32"),
        ("", "is not a network like 192.0.2.0/24 or 2001:db8::/32"),
    ] {
        assert_eq!(written.parse::<Cidr>().unwrap_err().to_string(), why, "{written:?}");
    }
}

#[test]
fn a_network_contains() {
    for (network, ip, expected) in [
        ("192.0.2.0/24", "192.0.2.255", true),
        ("192.0.2.0/24", "192.0.3.0", false),
        ("192.0.2.0/24", "::ffff:192.0.2.7", true),
        ("0.0.0.0/0", "198.51.100.1", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "2001:db8::1", true),
        ("::/0", "198.51.100.1", false),
        ("2001:db8::/33", "2001:db8:7fff::1", true),
        ("2001:db8::/33", "2001:db8:8000::1", false),
    ] {
        let (network, ip): (Cidr, IpAddr) = (network.parse().unwrap(), ip.parse().unwrap());
        assert_eq!(network.contains(ip), expected, "{network} {ip}");
    }
}
