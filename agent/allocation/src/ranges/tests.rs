use model::ObjectName;

use super::Ranges;

#[test]
fn which_ranges_make_sense() {
    for (ipv4, ipv6, expected) in [
        ("240.240.0.0/16", "2001:2::/48", None),
        ("10.0.0.0/8", "fd00::/8", None),
        ("240.0.0.0/30", "2001:2::/64", None),
        ("240.0.0.0/7", "2001:2::/48", Some("is not an IPv4 network with a prefix of 8 to 30 bits")),
        ("240.0.0.0/31", "2001:2::/48", Some("is not an IPv4 network")),
        ("2001:2::/48", "2001:2::/48", Some("is not an IPv4 network")),
        ("240.240.0.0/16", "2001:2::/65", Some("is not an IPv6 network with a prefix of at most 64 bits")),
        ("240.240.0.0/16", "10.0.0.0/8", Some("is not an IPv6 network")),
        ("127.0.0.0/16", "2001:2::/48", Some("127.0.0.0/16 holds addresses that are no host's own")),
        ("224.1.0.0/16", "2001:2::/48", Some("no host's own")),
        ("240.240.0.0/16", "::/0", Some("no host's own")),
        ("240.240.0.0/16", "fe80::/48", Some("no host's own")),
    ] {
        let error = Ranges::new(ipv4.parse().unwrap(), ipv6.parse().unwrap()).err().map(|e| e.to_string());
        assert_eq!(error.is_some(), expected.is_some(), "{ipv4} {ipv6}: {error:?}");
        assert!(error.unwrap_or_default().contains(expected.unwrap_or_default()), "{ipv4} {ipv6}");
    }
}

#[test]
fn slots_are_addresses() {
    let ranges = Ranges::new("240.0.0.0/29".parse().unwrap(), "2001:2::/48".parse().unwrap()).unwrap();
    let all: Vec<_> = (0..ranges.slots()).map(|slot| ranges.ipv4_at(slot).to_string()).collect();
    assert_eq!(all, ["240.0.0.1", "240.0.0.2", "240.0.0.3", "240.0.0.4", "240.0.0.5", "240.0.0.6"]);
    for (slot, address) in (0..).zip(&all) {
        assert_eq!(ranges.slot_of(address.parse().unwrap()), Some(slot));
    }
    for none in ["240.0.0.0", "240.0.0.7", "240.0.0.8", "239.255.255.255"] {
        assert_eq!(ranges.slot_of(none.parse().unwrap()), None, "{none}");
    }
    for (network, slots) in [
        ("240.0.0.0/30", Some((0, 2))),
        ("240.0.0.4/30", Some((3, 5))),
        ("240.0.0.2/31", Some((1, 2))),
        ("240.0.0.6/32", Some((5, 5))),
        ("240.0.0.0/32", None),
        ("2001:2::/64", None),
    ] {
        assert_eq!(ranges.slots_of(network.parse().unwrap()), slots, "{network}");
    }
}

#[test]
fn an_ipv6_address_is_a_hash_of_the_host_alone() {
    let ranges = Ranges::default();
    let of = |namespace, host| ranges.ipv6_of(&ObjectName::new(namespace, host)).to_string();
    // 2001:2:0, and bytes 6 to 15 of SHA-256("shop/www.example.com").
    assert_eq!(of("shop", "www.example.com"), GOLDEN);
    assert_ne!(of("shop", "www.example.com"), of("bank", "www.example.com"));
    assert!(ranges.contains(GOLDEN.parse().unwrap()));
}

const GOLDEN: &str = "2001:2:0:2eac:a845:cdd5:d4f3:9e25";
