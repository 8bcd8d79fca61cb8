use super::*;

const TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn a_client_keeps_its_endpoint_until_it_has_been_silent_for_the_timeout() {
    let mut table = Affinities::new(8);
    let start = Instant::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    table.remember(key("192.0.2.1", 80), endpoint(1), after(0));
    assert_eq!(table.recall(&key("192.0.2.1", 80), TIMEOUT, after(59)), Some(endpoint(1)));
    assert_eq!(table.recall(&key("192.0.2.1", 80), TIMEOUT, after(60)), None);

    table.remember(key("192.0.2.1", 80), endpoint(1), after(59));
    assert_eq!(table.recall(&key("192.0.2.1", 80), TIMEOUT, after(118)), Some(endpoint(1)));
    assert_eq!(table.recall(&key("192.0.2.1", 443), TIMEOUT, after(60)), None, "another port");
    assert_eq!(table.recall(&key("192.0.2.2", 80), TIMEOUT, after(60)), None, "another client");
}

#[test]
fn when_full_the_one_unused_longest_is_forgotten() {
    let mut table = Affinities::new(2);
    let now = Instant::now();
    table.remember(key("192.0.2.1", 80), endpoint(1), now);
    table.remember(key("192.0.2.2", 80), endpoint(2), now);
    table.remember(key("192.0.2.1", 80), endpoint(1), now);
    table.remember(key("192.0.2.3", 80), endpoint(3), now);

    let recall = |client| table.recall(&key(client, 80), TIMEOUT, now);
    assert_eq!(recall("192.0.2.1"), Some(endpoint(1)));
    assert_eq!(recall("192.0.2.2"), None);
    assert_eq!(recall("192.0.2.3"), Some(endpoint(3)));
    assert_eq!((table.entries.len(), table.by_use.len()), (2, 2));
}

#[test]
fn without_capacity_nothing_is_kept() {
    let mut table = Affinities::new(0);
    table.remember(key("192.0.2.1", 80), endpoint(1), Instant::now());
    assert_eq!(table.recall(&key("192.0.2.1", 80), TIMEOUT, Instant::now()), None);
}

fn key(client: &str, port: u16) -> Key {
    Key { client: client.parse().unwrap(), service: ObjectName::new("shop", "web"), port }
}

fn endpoint(last: u8) -> EndpointAddr {
    EndpointAddr(([198, 51, 100, last], 8080).into())
}
