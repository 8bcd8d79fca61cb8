use super::*;

#[test]
fn the_connections_follow_from_the_files() {
    for (files, connections) in
        [(0, 1), (3, 1), (256, 64), (1_024, 384), (20_000, 9_500), (1 << 20, 520_192), (1 << 30, 536_866_816)]
    {
        assert_eq!(Limits::for_files(files).connections, connections, "{files}");
    }
}

#[test]
fn one_pod_of_several_can_hold_9000_connections_where_20_000_files_may_be_open() {
    let share = Limits::for_files(20_000).connections();
    assert!(9_000 <= share.pod && 9_000 <= share.node - share.reserve, "{share:?}");
}
