//! What is read of messages: no more than it takes, so that the work does not depend on what they claim to hold.

use hickory_proto::{
    op::{Edns, Header, HeaderCounts, MessageType, OpCode, Query},
    rr::{Record, RecordType},
    serialize::binary::{BinDecodable, BinDecoder},
};

/// What a message asks, for logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// As it was asked, with the last dot; escaped where it cannot be printed.
    pub name: String,
    /// `A`, `AAAA`, `HTTPS`; `Unknown` of all that have no name, so that there are not too many.
    pub record_type: &'static str,
}

/// `None` if it has not exactly one question that can be read.
pub fn question(message: &[u8]) -> Option<Question> {
    let question = Opened::new(message)?.question?;
    Some(Question { name: question.name().to_ascii(), record_type: question.query_type().into() })
}

/// Whether a resolver answers this query with it, which it was sent with that ID. The case of the name may differ, for
/// not every resolver keeps it; whether that matters is for the client to say.
pub fn is_reply_to(query: &[u8], id: u16, reply: &[u8]) -> bool {
    let (Some(query), Some(reply)) = (Opened::new(query), Opened::new(reply)) else {
        return false;
    };
    let (asked, answered) = (&query.header, &reply.header);
    answered.message_type == MessageType::Response
        && answered.id == id
        && answered.op_code == asked.op_code
        && match (query.question, reply.question) {
            (Some(question), Some(repeated)) => question == repeated,
            // A resolver need not repeat what it refuses to read.
            (_, None) if answered.counts.queries == 0 => {
                answered.response_code.low() != 0 || asked.op_code != OpCode::Query
            }
            // Of other operations the question is a zone, or something yet unknown.
            _ => asked.op_code != OpCode::Query,
        }
}

/// A message whose header could be read.
pub(crate) struct Opened<'a> {
    pub(crate) header: Header,
    /// If it is the only one and can be read.
    pub(crate) question: Option<Query>,
    /// What follows the question, if there is one.
    rest: BinDecoder<'a>,
}

/// What follows the question of a query.
pub(crate) enum Extra {
    Nothing,
    Edns(Edns),
    /// A signature, or whatever else one may put into a query.
    Other,
    Malformed,
}

// === impl Opened ===

impl<'a> Opened<'a> {
    /// `None` if it is shorter than a header.
    pub(crate) fn new(message: &'a [u8]) -> Option<Self> {
        let mut rest = BinDecoder::new(message);
        let header = Header::read(&mut rest).ok()?;
        let question = if header.counts.queries == 1 { Query::read(&mut rest).ok() } else { None };
        Some(Self { header, question, rest })
    }

    /// To be read once, of one that has a question.
    pub(crate) fn extra(&mut self) -> Extra {
        match self.header.counts {
            HeaderCounts { answers: 0, authorities: 0, additionals: 0, .. } => Extra::Nothing,
            HeaderCounts { answers: 0, authorities: 0, additionals: 1, .. } => {
                match Record::read(&mut self.rest) {
                    Ok(record) if record.record_type() == RecordType::OPT => Extra::Edns(Edns::from(&record)),
                    Ok(_) => Extra::Other,
                    Err(_) => Extra::Malformed,
                }
            }
            _ => Extra::Other,
        }
    }
}

#[cfg(test)]
mod tests;
