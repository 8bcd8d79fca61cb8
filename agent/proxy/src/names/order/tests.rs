use super::*;

#[test]
fn families_take_turns_after_the_first() {
    const V4: [&str; 3] = ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"];
    const V6: [&str; 2] = ["[2001:db8::1]:1", "[2001:db8::2]:1"];
    for (name, all, first, expected) in [
        ("one", vec![V4[0]], 0, vec![V4[0]]),
        ("none", vec![], 0, vec![]),
        ("one family", V4.to_vec(), 1, vec![V4[1], V4[0], V4[2]]),
        ("as many of each", vec![V4[0], V4[1], V6[0], V6[1]], 0, vec![V4[0], V6[0], V4[1], V6[1]]),
        ("more of the first", vec![V4[0], V4[1], V4[2], V6[0]], 1, vec![V4[1], V6[0], V4[0], V4[2]]),
        ("more of the other", vec![V4[0], V4[1], V6[0]], 2, vec![V6[0], V4[0], V4[1]]),
    ] {
        let parse = |addrs: Vec<&str>| -> Vec<_> {
            addrs.into_iter().map(|addr| EndpointAddr(addr.parse().unwrap())).collect()
        };
        assert_eq!(in_turn(parse(all), first), parse(expected), "{name}");
    }
}
