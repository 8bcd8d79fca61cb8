//! From a query to what becomes of it.

use hickory_proto::{
    op::{MessageType, OpCode},
    rr::{DNSClass, Name, RecordType},
};
use model::Snapshot;

use crate::{
    Client, Failure, Found, Unanswerable, failure,
    found::Family,
    lookup::lookup_lower,
    message::{Extra, Opened},
    names::{labels, text},
    reply::{Records, answer, too_many},
};

/// What a datagram always holds, and what it holds at most, whatever a client says: nothing fragments it on its way to
/// a pod of this node.
const DATAGRAM_MIN: u16 = 512;
const DATAGRAM_MAX: u16 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerConfig {
    /// How many seconds a client may keep an answer.
    pub ttl: u32,
}

/// What becomes of a query.
#[derive(Clone, Debug)]
pub enum Decision<'a> {
    /// The whole reply, to be sent as it is; over TCP behind its length.
    Answer { message: Vec<u8>, outcome: Outcome<'a> },
    /// To the resolver that the client asked: byte for byte, but for the ID.
    Forward { because: Forwarded<'a> },
    /// Never answered.
    Drop { because: Dropped },
}

/// What an answer says.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    Addresses {
        found: Found<'a>,
        /// None, where it has only some of the other family.
        count: usize,
        /// The client is to ask again over TCP.
        truncated: bool,
    },
    Failed(Failure),
}

/// Why a query is the resolver's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forwarded<'a> {
    /// An operation other than `QUERY`. ztunnel says `NOTIMP`; whether it is implemented is for the resolver to say.
    Operation,
    /// A class other than `IN`.
    Class,
    /// Neither `A` nor `AAAA`.
    RecordType,
    /// No name that the client sees a service by.
    UnknownName,
    /// It is signed, or carries other records that an answer would have to heed.
    Records,
    Unanswerable(Unanswerable<'a>),
    /// The name of a service on the way cannot be written in a reply.
    Unwritable,
}

/// Why a message is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Shorter than a header.
    TooShort,
    /// Itself a reply. Whoever answered could be made to answer itself.
    Reply,
}

/// What becomes of the message that a client sent to its resolver. `random(n)` draws from `0..n`.
pub fn decide<'a>(
    snapshot: &'a Snapshot,
    client: &Client<'_>,
    config: &AnswerConfig,
    query: &[u8],
    transport: Transport,
    random: impl FnMut(usize) -> usize,
) -> Decision<'a> {
    let Some(mut opened) = Opened::new(query) else {
        return Decision::Drop { because: Dropped::TooShort };
    };
    if opened.header.message_type == MessageType::Response {
        return Decision::Drop { because: Dropped::Reply };
    }
    if opened.header.op_code != OpCode::Query {
        return forward(Forwarded::Operation);
    }
    // Without one question nobody could tell whether a reply of the resolver belongs to it.
    let Some(question) = opened.question.take() else {
        return fail(query, Failure::Malformed);
    };
    if question.query_class() != DNSClass::IN {
        return forward(Forwarded::Class);
    }
    let family = match question.query_type() {
        RecordType::A => Family::V4,
        RecordType::AAAA => Family::V6,
        _ => return forward(Forwarded::RecordType),
    };
    let Some(found) = text(question.name()).and_then(|name| lookup_lower(snapshot, client, &name)) else {
        return forward(Forwarded::UnknownName);
    };
    let meaning = match &found.meaning {
        Ok(meaning) => meaning,
        Err(because) => return forward(Forwarded::Unanswerable(because.clone())),
    };
    let edns = match opened.extra() {
        Extra::Nothing => None,
        Extra::Edns(edns) => Some(edns),
        Extra::Other => return forward(Forwarded::Records),
        Extra::Malformed => return fail(query, Failure::Malformed),
    };
    if edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return fail(query, Failure::EdnsVersion);
    }
    let limit = match (transport, &edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => DATAGRAM_MIN,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(DATAGRAM_MIN, DATAGRAM_MAX),
    };
    let Some(aliases) = aliases(question.name(), &found, &meaning.aliases) else {
        return forward(Forwarded::Unwritable);
    };
    let addresses = meaning.draw(family, too_many(limit), random);
    let records = Records { aliases: &aliases, addresses: &addresses, ttl: config.ttl };
    match answer(&opened.header, &question, edns.as_ref(), &records, limit) {
        Ok(reply) => {
            let outcome = Outcome::Addresses { found, count: reply.addresses, truncated: reply.truncated };
            Decision::Answer { message: reply.message, outcome }
        }
        Err(_) => forward(Forwarded::Unwritable),
    }
}

fn forward(because: Forwarded<'_>) -> Decision<'_> {
    Decision::Forward { because }
}

fn fail<'a>(query: &[u8], because: Failure) -> Decision<'a> {
    match failure(query, because) {
        Some(message) => Decision::Answer { message, outcome: Outcome::Failed(because) },
        // No query in the end.
        None => Decision::Drop { because: Dropped::Reply },
    }
}

/// The names that the asked one leads to: itself without its search domain, then those of `ExternalName`s.
fn aliases(asked: &Name, found: &Found<'_>, external: &[&str]) -> Option<Vec<Name>> {
    let mut aliases = Vec::new();
    if let Some(search) = &found.search {
        let kept = asked.iter().len().checked_sub(labels(search))?;
        aliases.push(Name::from_labels(asked.iter().take(kept)).ok()?);
    }
    for name in external {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        aliases.push(name);
    }
    Some(aliases)
}

#[cfg(test)]
mod tests;
