use super::*;

#[test]
fn an_entry_reads_as_it_was_written() {
    for text in ["10.0.0.1/32", "0.0.0.0/0", "240.240.0.0/16", "2001:db8::1/128", "::/0", "::/1"] {
        let registered_ = Registered::Addresses(text.parse().unwrap());
        assert_eq!(registered(&key(registered_)), Some(registered_), "{text}");
    }
    for port in [0, 1, 443, u16::MAX] {
        assert_eq!(registered(&key(Registered::Port(port))), Some(Registered::Port(port)));
    }
    assert_eq!(registered(&complete()), None, "what says that all is there is no address");
}
