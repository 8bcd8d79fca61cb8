use hickory_proto::op::{Message, OpCode};

use super::*;
use crate::fixture::{query, with_edns};

#[test]
fn failures() {
    let plain = query("Web.shop", RecordType::A);
    let bytes = plain.to_vec().unwrap();
    let edns = with_edns(plain.clone(), 4096).to_vec().unwrap();
    let mut garbled = bytes.clone();
    garbled[12] = 0xff;
    let mut status = bytes.clone();
    status[2] |= 2 << 3;
    let mut crowded = edns.clone();
    crowded[11] = 2;
    for (name, asked, because, code, questions, has_edns) in [
        ("plain", &bytes, Failure::NoAnswer, 2, 1, false),
        ("with EDNS", &edns, Failure::NoAnswer, 2, 1, true),
        ("refused", &edns, Failure::Refused, 5, 1, true),
        ("EDNS of the future", &edns, Failure::EdnsVersion, 16, 1, true),
        ("question that cannot be read", &garbled, Failure::Malformed, 1, 0, false),
        ("another operation", &status, Failure::NoAnswer, 2, 1, false),
        ("too many records", &crowded, Failure::NoAnswer, 2, 1, false),
    ] {
        let reply = Message::from_vec(&failure(asked, because).unwrap()).unwrap();
        assert_eq!(u16::from(reply.response_code), code, "{name}");
        assert_eq!((reply.queries.len(), reply.edns.is_some()), (questions, has_edns), "{name}");
        assert_eq!((reply.id, reply.message_type), (0x1234, MessageType::Response), "{name}");
        assert!(reply.recursion_desired && reply.recursion_available && !reply.authoritative, "{name}");
        assert!(reply.answers.is_empty(), "{name}");
    }
    assert_eq!(
        Message::from_vec(&failure(&status, Failure::NoAnswer).unwrap()).unwrap().op_code,
        OpCode::Status
    );
}

#[test]
fn what_is_no_query_gets_no_failure() {
    let mut reply = query("web", RecordType::A).to_vec().unwrap();
    assert!(failure(&reply[..11], Failure::NoAnswer).is_none());
    reply[2] |= 0x80;
    assert!(failure(&reply, Failure::NoAnswer).is_none());
}
