use model::ExistingConnections::{Keep, Reset};

use super::*;

#[test]
fn connections_are_reset_once() {
    for (case, wish, before, begun, due) in [
        ("capture begins, kept", Keep, None, true, false),
        ("capture begins", Reset, None, true, true),
        ("adopted from an earlier agent", Reset, None, false, false),
        ("asked for later", Reset, Some(Keep), false, true),
        ("the pod changes otherwise", Reset, Some(Reset), true, false),
        ("no more asked for", Keep, Some(Reset), false, false),
    ] {
        assert_eq!(reset_is_due(wish, before, begun), due, "{case}");
    }
}
