use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, ResponseCode};

use super::{Asked, LOST_AFTER, Waiting};

/// What a resolver replies with, before the test changes it: one alias.
fn reply(asked: &Asked) -> Message {
    let mut message = Message::from_vec(&asked.message).unwrap();
    message.metadata.message_type = MessageType::Response;
    message.metadata.id = 7;
    let name = message.queries[0].name().clone();
    let alias = hickory_proto::rr::RData::CNAME(hickory_proto::rr::rdata::CNAME(name.clone()));
    message.add_answer(hickory_proto::rr::Record::from_rdata(name, 30, alias));
    message
}

#[test]
fn only_an_answer_to_the_question_counts() {
    let asked = Asked::new("web.example.com").unwrap();
    let other = Asked::new("wep.example.com").unwrap();
    let answer = reply(&asked);
    assert_eq!(asked.id_of_reply(&answer.to_vec().unwrap()).unwrap(), 7);
    let refused = |change: fn(&mut Message)| {
        let mut message = answer.clone();
        change(&mut message);
        message.to_vec().unwrap()
    };
    for (case, message) in [
        ("SERVFAIL", refused(|m| m.metadata.response_code = ResponseCode::ServFail)),
        ("without addresses", refused(|m| m.answers.clear())),
        ("a query", refused(|m| m.metadata.message_type = MessageType::Query)),
        ("to another question", reply(&other).to_vec().unwrap()),
        ("cut short", answer.to_vec().unwrap()[..20].to_vec()),
    ] {
        assert!(asked.id_of_reply(&message).is_err(), "{case}");
    }
}

#[test]
fn what_waits_too_long_is_lost_and_what_was_replied_to_is_not() {
    let begun = Instant::now();
    let mut waiting = Waiting::default();
    let ids = [0, 1, 2].map(|second| waiting.add(begun + second * LOST_AFTER / 4));
    assert_eq!(waiting.take(ids[1]), Some(begun + LOST_AFTER / 4));
    assert_eq!(waiting.take(ids[1]), None, "replied to twice");
    assert_eq!((waiting.forget(begun + LOST_AFTER / 2), waiting.count), (0, 2));
    assert_eq!((waiting.forget(begun + LOST_AFTER), waiting.count), (1, 1));
    assert_eq!(waiting.take(ids[0]), None, "it came after it was given up");
    assert_eq!((waiting.forget(begun + LOST_AFTER * 3 / 2), waiting.count), (1, 0));
}

#[test]
fn ids_begin_anew_when_all_were_used() {
    let mut waiting = Waiting::default();
    let now = Instant::now();
    for expected in (0..=u16::MAX).chain([0, 1]) {
        let id = waiting.add(now);
        assert_eq!((id, waiting.take(id)), (expected, Some(now)));
        assert_eq!(waiting.forget(now + Duration::from_millis(1)), 0);
    }
    assert!(waiting.order.is_empty());
}
