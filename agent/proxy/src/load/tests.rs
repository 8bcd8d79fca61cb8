use super::*;

#[test]
fn counts_while_it_lives_and_leaves_nothing() {
    let loads = Loads::default();
    let endpoint = EndpointAddr("192.0.2.1:80".parse().unwrap());
    let first = loads.add(endpoint);
    let second = loads.add(endpoint);
    assert_eq!(loads.of(endpoint), 2);
    drop((first, second));
    assert_eq!(loads.of(endpoint), 0);
    assert!(lock(&loads.0).is_empty());
}
