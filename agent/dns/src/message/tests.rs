use hickory_proto::{
    op::{MessageType, ResponseCode},
    rr::RecordType,
};

use super::*;
use crate::fixture::{query, with_edns};

#[test]
fn replies_that_belong_to_a_query() {
    let asked = query("www.Example.org", RecordType::A);
    let reply = || {
        let mut reply = asked.clone();
        reply.metadata.message_type = MessageType::Response;
        reply.metadata.id = 7;
        reply
    };
    let with = |change: &dyn Fn(&mut hickory_proto::op::Message)| {
        let mut reply = reply();
        change(&mut reply);
        reply.to_vec().unwrap()
    };
    let asking = |name, record_type| query(name, record_type).queries;
    for (name, message, expected) in [
        ("its own", with(&|_| {}), true),
        ("a name error", with(&|m| m.metadata.response_code = ResponseCode::NXDomain), true),
        ("the case changed", with(&|m| m.queries = asking("WWW.example.ORG", RecordType::A)), true),
        ("another ID", with(&|m| m.metadata.id = 8), false),
        ("a query", with(&|m| m.metadata.message_type = MessageType::Query), false),
        ("another operation", with(&|m| m.metadata.op_code = OpCode::Status), false),
        ("another name", with(&|m| m.queries = asking("www.example.com", RecordType::A)), false),
        ("another type", with(&|m| m.queries = asking("www.example.org", RecordType::AAAA)), false),
        ("no question, and yet no error", with(&|m| m.queries.clear()), false),
        (
            "no question, for it was not read",
            with(&|m| {
                m.queries.clear();
                m.metadata.response_code = ResponseCode::FormErr;
            }),
            true,
        ),
        ("two questions", with(&|m| m.queries.extend(asking("www.example.org", RecordType::A))), false),
        ("question cut off", with(&|_| {})[..20].to_vec(), false),
        ("less than a header", with(&|_| {})[..11].to_vec(), false),
        ("nothing", Vec::new(), false),
    ] {
        assert_eq!(is_reply_to(&asked.to_vec().unwrap(), 7, &message), expected, "{name}");
    }
}

/// Whose question is none, or none that can be read.
#[test]
fn replies_to_other_operations() {
    let mut update = query("example.org", RecordType::SOA).to_vec().unwrap();
    update[2] |= 5 << 3;
    let mut reply = update[..12].to_vec();
    reply[2] |= 0x80;
    reply[5] = 0;
    assert!(is_reply_to(&update, 0x1234, &reply));
    update.truncate(14);
    assert!(is_reply_to(&update, 0x1234, &reply));
    assert!(!is_reply_to(&update, 0x1235, &reply));
}

#[test]
fn questions() {
    let message = |name, record_type| with_edns(query(name, record_type), 1232).to_vec().unwrap();
    let mut unprintable = message("web.shop", RecordType::A);
    unprintable[13] = 0xff;
    for (message, expected) in [
        (message("Web.shop", RecordType::AAAA), Some("Web.shop. AAAA")),
        (message("example.org", RecordType::HTTPS), Some("example.org. HTTPS")),
        (message("example.org", RecordType::Unknown(4711)), Some("example.org. Unknown")),
        (message(".", RecordType::NS), Some(". NS")),
        (unprintable, Some("\\377eb.shop. A")),
        (message("web.shop", RecordType::A)[..20].to_vec(), None),
        (Vec::new(), None),
    ] {
        let told = question(&message).map(|question| format!("{} {}", question.name, question.record_type));
        assert_eq!(told.as_deref(), expected);
    }
}
