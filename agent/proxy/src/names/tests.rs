use super::*;

/// Addresses in the place of names, for which nobody is asked.
#[tokio::test]
async fn which_addresses_are_tried_in_which_order() {
    use Discovery::{Dns, DnsRoundRobin};
    use Family::{V4, V6};
    const ALL: [&str; 4] = ["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.1"];
    for (name, discovery, families, hosts, draws, expected) in [
        ("all of one family, once", Dns, &[V4][..], &ALL[..], [0, 0], "192.0.2.1:443 192.0.2.2:443"),
        ("the less loaded of two", Dns, &[V4], &ALL, [1, 0], "192.0.2.1:443 192.0.2.2:443"),
        ("in turn", Dns, &[V4, V6], &ALL, [0, 1], "192.0.2.1:443 [2001:db8::1]:443 192.0.2.2:443"),
        (
            "in turn, from the other",
            Dns,
            &[V6, V4],
            &ALL,
            [0, 1],
            "[2001:db8::1]:443 192.0.2.1:443 192.0.2.2:443",
        ),
        ("one of the names", DnsRoundRobin, &[V4, V6], &ALL, [2, 0], "192.0.2.2:443"),
        ("mapped", Dns, &[V4], &["::ffff:192.0.2.1"], [0, 0], "192.0.2.1:443"),
        (
            "none of the family",
            Dns,
            &[V6],
            &["192.0.2.1"],
            [0, 0],
            "192.0.2.1 is an address of a family that the pod does not have",
        ),
    ] {
        let port = 443;
        let names = hosts.iter().map(|&host| NamedEndpoint { host: host.into(), port }).collect();
        let named = Named { names, discovery, families: families.to_vec() };
        let load = |addr: EndpointAddr| usize::from(addr.ip() == IpAddr::from([192, 0, 2, 2]));
        let mut draws = draws.into_iter();
        let random = |_| draws.next().unwrap();
        let candidates =
            Names::new(Vec::new()).candidates(&named, load, random, Duration::from_secs(1)).await;
        let said = match candidates {
            Ok(candidates) => candidates.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(failure) => failure.to_string(),
        };
        assert_eq!(said, expected, "{name}");
    }
}
