use super::*;

const RANGES: [RangeInclusive<u16>; 2] = [61_000..=61_002, 16_384..=16_385];

#[test]
fn ports_turn_through_the_preferred_range_and_then_spill() {
    let mut tuples = Tuples::default();
    let mut deliver = || port(tuples.deliver(client(), server(), Wanted::FromRange, &RANGES));
    let ports: Vec<_> = (0..6).map(|_| deliver()).collect();
    assert_eq!(
        ports,
        [Some(61_000), Some(61_001), Some(61_002), Some(16_385), Some(16_384), None],
        "each once, the second range only when the first is full"
    );
}

#[test]
fn a_port_given_back_rests_for_a_turn() {
    let mut tuples = Tuples::default();
    for expected in [61_000, 61_001, 61_002, 61_000] {
        let tuple = tuples.deliver(client(), server(), Wanted::FromRange, &RANGES);
        assert_eq!(port(tuple), Some(expected));
        tuples.forget_delivered(tuple.unwrap());
    }
}

#[test]
fn no_port_of_a_live_accepted_connection_is_used() {
    let mut tuples = Tuples::default();
    let accepted = |port| Tuple { client: SocketAddr::new(client(), port), server: server() };
    assert!(tuples.accept(accepted(61_000)));
    assert!(tuples.accept(accepted(61_000)), "reused before its former task ended");
    tuples.forget_accepted(accepted(61_000));
    assert_eq!(port(tuples.deliver(client(), server(), Wanted::Port(61_000), &RANGES)), Some(61_001));

    tuples.forget_accepted(accepted(61_000));
    assert_eq!(port(tuples.deliver(client(), server(), Wanted::Port(61_000), &RANGES)), Some(61_000));
}

#[test]
fn other_clients_and_other_servers_have_ports_of_their_own() {
    let mut tuples = Tuples::default();
    let other_client = "192.0.2.2".parse().unwrap();
    let other_server = "198.51.100.1:81".parse().unwrap();
    for (client, server) in [(client(), server()), (other_client, server()), (client(), other_server)] {
        let tuple = tuples.deliver(client, server, Wanted::Port(40_000), &RANGES);
        assert_eq!(port(tuple), Some(40_000), "{client} {server}");
    }
}

#[test]
fn our_own_delivery_is_recognised_when_it_comes_back() {
    let mut tuples = Tuples::default();
    let tuple = tuples.deliver(client(), server(), Wanted::FromRange, &RANGES).unwrap();
    assert!(!tuples.accept(tuple));
    tuples.forget_delivered(tuple);
    assert!(tuples.accept(tuple));
}

#[test]
fn an_empty_range_gives_nothing() {
    let mut tuples = Tuples::default();
    #[expect(clippy::reversed_empty_ranges, reason = "the case")]
    let ranges = [5..=4];
    assert_eq!(tuples.deliver(client(), server(), Wanted::FromRange, &ranges), None);
}

fn client() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

fn server() -> SocketAddr {
    "198.51.100.1:80".parse().unwrap()
}

fn port(tuple: Option<Tuple>) -> Option<u16> {
    tuple.map(|t| t.client.port())
}
