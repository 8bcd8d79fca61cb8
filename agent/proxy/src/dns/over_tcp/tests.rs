use super::*;

#[test]
fn what_begins_like_a_query() {
    let query = b"\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01";
    let response = b"\x00\x1d\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00";
    for (name, beginning, expected) in [
        ("a query with EDNS", query, true),
        ("a response", response, false),
        ("HTTP", b"GET / HTTP/1.1", false),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x01\x02", false),
        ("SSH", b"SSH-2.0-OpenSS", false),
    ] {
        assert_eq!(is_query(beginning), expected, "{name}");
    }
}
