//! Replies as they are sent.

use std::net::IpAddr;

use hickory_proto::{
    ProtoError,
    op::{Edns, Header, HeaderCounts, MessageType, Metadata, Query, ResponseCode},
    rr::{DNSClass, Name, RecordType},
    serialize::binary::{BinEncodable, BinEncoder, EncodedSize},
};

use crate::message::{Extra, Opened};

/// Of queries: a datagram of this size is not fragmented on any path (DNS flag day 2020).
const OUR_PAYLOAD: u16 = 1232;
/// That of an OPT record without options.
const EDNS_LENGTH: u16 = 11;
/// A pointer to its owner's name, type, class, TTL, length; and the shortest data.
const RECORD_MIN: usize = 12 + 4;

/// Where the name of the question begins.
const QUESTION: u16 = Header::LEN as u16;

/// Why a query gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// `FORMERR`: it cannot be read.
    Malformed,
    /// `SERVFAIL`: the resolver did not answer.
    NoAnswer,
    /// `REFUSED`
    Refused,
    /// `BADVERS`: a version of EDNS that nobody knows yet.
    EdnsVersion,
}

/// The records of an answer: aliases, each with the name that it leads to, then addresses of the last.
pub(crate) struct Records<'a> {
    pub(crate) aliases: &'a [Name],
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) ttl: u32,
}

/// A reply, and whether something of it was left out for want of room.
pub(crate) struct Reply {
    pub(crate) message: Vec<u8>,
    /// How many of the addresses it holds.
    pub(crate) addresses: usize,
    pub(crate) truncated: bool,
}

/// What a query is answered instead of what it asked. `None` if it is none: what is itself a reply is never answered,
/// or two proxies could answer each other for ever.
pub fn failure(query: &[u8], failure: Failure) -> Option<Vec<u8>> {
    let mut query = Opened::new(query).filter(|query| query.header.message_type == MessageType::Query)?;
    // Behind a question that cannot be read nothing can.
    let edns = match query.question.is_some().then(|| query.extra()) {
        Some(Extra::Edns(edns)) => Some(edns),
        _ => None,
    };
    let mut metadata = Metadata::response_from_request(&query.header);
    metadata.recursion_available = true;
    metadata.response_code = failure.code();
    let none = Records { aliases: &[], addresses: &[], ttl: 0 };
    let reply = write(metadata, query.question.as_ref(), edns.as_ref(), &none, u16::MAX);
    reply.ok().map(|reply| reply.message)
}

pub(crate) fn answer(
    asked: &Metadata,
    question: &Query,
    edns: Option<&Edns>,
    records: &Records<'_>,
    limit: u16,
) -> Result<Reply, ProtoError> {
    let mut metadata = Metadata::response_from_request(asked);
    metadata.authoritative = true;
    metadata.recursion_available = true;
    write(metadata, Some(question), edns, records, limit)
}

/// So many address records are more than fit, whatever their family.
pub(crate) fn too_many(limit: u16) -> usize {
    usize::from(limit) / RECORD_MIN
}

fn write(
    mut metadata: Metadata,
    question: Option<&Query>,
    edns: Option<&Edns>,
    records: &Records<'_>,
    limit: u16,
) -> Result<Reply, ProtoError> {
    let mut message = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut message);
    // The OPT record comes last, and must fit whatever else does not.
    encoder.set_max_size(if edns.is_some() { limit - EDNS_LENGTH } else { limit });
    let place = encoder.place::<Header>()?;
    if let Some(question) = question {
        question.emit(&mut encoder)?;
    }
    let (answers, truncated) = write_records(&mut encoder, records)?;
    encoder.set_max_size(limit);
    if let Some(edns) = edns {
        ours(edns, metadata.response_code).emit(&mut encoder)?;
    }
    metadata.truncation = truncated;
    let counts = HeaderCounts {
        queries: question.is_some().into(),
        answers,
        authorities: 0,
        additionals: edns.is_some().into(),
    };
    encoder.emit_at(place, Header { metadata, counts })?;
    let addresses = usize::from(answers).saturating_sub(records.aliases.len());
    Ok(Reply { message, addresses, truncated })
}

/// Of the client's it repeats only that it takes signatures; options are answered by nobody here.
fn ours(client: &Edns, code: ResponseCode) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(OUR_PAYLOAD).set_rcode_high(code.high()).set_version(0);
    edns.set_dnssec_ok(client.flags().dnssec_ok);
    edns
}

/// As many as fit: how many those are, and whether some did not.
fn write_records(encoder: &mut BinEncoder<'_>, records: &Records<'_>) -> Result<(u16, bool), ProtoError> {
    let mut owner = QUESTION;
    let mut count = 0;
    for target in records.aliases {
        let end = encoder.offset();
        let mut next = 0;
        let written = write_record(encoder, owner, RecordType::CNAME, records.ttl, |encoder| {
            next = encoder.offset();
            target.emit(encoder)
        });
        if !fits(encoder, end, written)? {
            return Ok((count, true));
        }
        // At most eight aliases of 255 bytes are before it: a pointer reaches twice as far.
        owner = next as u16;
        count += 1;
    }
    for ip in records.addresses {
        let end = encoder.offset();
        let written = match ip {
            IpAddr::V4(ip) => write_record(encoder, owner, RecordType::A, records.ttl, |encoder| {
                encoder.emit_vec(&ip.octets())
            }),
            IpAddr::V6(ip) => write_record(encoder, owner, RecordType::AAAA, records.ttl, |encoder| {
                encoder.emit_vec(&ip.octets())
            }),
        };
        if !fits(encoder, end, written)? {
            return Ok((count, true));
        }
        count += 1;
    }
    Ok((count, false))
}

/// The owner is a pointer always: hickory's own compression ends with the 120th name of a message, and a headless
/// service has thousands of addresses.
fn write_record(
    encoder: &mut BinEncoder<'_>,
    owner: u16,
    record_type: RecordType,
    ttl: u32,
    data: impl FnOnce(&mut BinEncoder<'_>) -> Result<(), ProtoError>,
) -> Result<(), ProtoError> {
    encoder.emit_u16(0xC000 | owner)?;
    record_type.emit(encoder)?;
    DNSClass::IN.emit(encoder)?;
    encoder.emit_u32(ttl)?;
    let length = encoder.place::<u16>()?;
    data(encoder)?;
    let written = encoder.len_since_place(&length) as u16;
    encoder.emit_at(length, written)
}

/// What fits only in part is taken back.
fn fits(
    encoder: &mut BinEncoder<'_>,
    end: usize,
    written: Result<(), ProtoError>,
) -> Result<bool, ProtoError> {
    match written {
        Ok(()) => Ok(true),
        Err(ProtoError::MaxBufferSizeExceeded(_)) => {
            encoder.set_offset(end);
            encoder.trim();
            Ok(false)
        }
        Err(other) => Err(other),
    }
}

// === impl Failure ===

impl Failure {
    fn code(self) -> ResponseCode {
        match self {
            Self::Malformed => ResponseCode::FormErr,
            Self::NoAnswer => ResponseCode::ServFail,
            Self::Refused => ResponseCode::Refused,
            Self::EdnsVersion => ResponseCode::BADVERS,
        }
    }
}

#[cfg(test)]
mod tests;
