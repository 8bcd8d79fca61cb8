use super::*;

#[test]
fn amounts_are_read_as_kubernetes_writes_them() {
    for (text, bytes) in [
        ("0", Some(0)),
        ("4096", Some(4_096)),
        ("64Ki", Some(64 << 10)),
        ("256Mi", Some(256 << 20)),
        ("2Gi", Some(2 << 30)),
        ("1Ti", Some(1 << 40)),
        ("", None),
        ("Mi", None),
        ("1 Mi", None),
        ("1MB", None),
        ("1m", None),
        ("1.5Gi", None),
        ("-1Mi", None),
        ("+1Mi", None),
        ("18446744073709551616", None),
        ("18446744073709551615Ti", None),
    ] {
        assert_eq!(Quantity::parse(text).map(Quantity::bytes), bytes, "{text:?}");
    }
}
