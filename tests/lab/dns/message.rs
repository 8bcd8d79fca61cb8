//! Messages of DNS as bytes, and sockets in pods that send them: for what no resolver library shows of itself.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
};

use harness::Pod;
use hickory_resolver::proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};

use crate::road::{PATIENCE, connect};

pub(super) const PORT: u16 = 53;
const LONGEST: usize = 1 << 16;

/// A whole name, whose case is kept.
pub(super) fn query(id: u16, name: &str, record_type: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, record_type));
    message
}

pub(super) fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload).set_version(0);
    message.set_edns(edns);
    message
}

/// A socket of the pod that may ask anybody of that family.
pub(super) fn socket(pod: &Pod, family_of: IpAddr) -> UdpSocket {
    let any: IpAddr = match family_of {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = pod.exec(|| UdpSocket::bind((any, 0))).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// The next datagram, and who sent it.
pub(super) fn receive(socket: &UdpSocket) -> io::Result<(Vec<u8>, SocketAddr)> {
    let mut buffer = vec![0; LONGEST];
    let (length, from) = socket.recv_from(&mut buffer)?;
    buffer.truncate(length);
    Ok((buffer, from))
}

/// Asks over UDP by a socket that takes replies from this resolver alone.
pub(super) fn ask(pod: &Pod, resolver: IpAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let socket = socket(pod, resolver);
    socket.connect((resolver, PORT))?;
    socket.send(message)?;
    receive(&socket).map(|(reply, _)| reply)
}

/// A connection to ask over.
pub(super) fn dial(pod: &Pod, resolver: IpAddr) -> io::Result<TcpStream> {
    connect(pod, (resolver, PORT).into())
}

pub(super) fn send_framed(mut stream: &TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).unwrap();
    stream.write_all(&[&length.to_be_bytes()[..], message].concat())
}

pub(super) fn receive_framed(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// The addresses of an answer, or its code.
#[track_caller]
pub(super) fn told(reply: &[u8]) -> Result<Vec<IpAddr>, ResponseCode> {
    let reply = Message::from_vec(reply).unwrap();
    let addresses = reply.answers.iter().filter_map(|record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    });
    match reply.metadata.response_code {
        ResponseCode::NoError => Ok(addresses.collect()),
        code => Err(code),
    }
}
