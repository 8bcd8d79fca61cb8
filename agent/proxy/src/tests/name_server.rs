//! A name server on loopback, over UDP and TCP, that says what a test has told it.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, RecordType},
};
use resolver::Family;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
};

use crate::lock::lock;

/// What it says to a question.
#[derive(Clone, Debug)]
pub(super) enum Say {
    Addresses {
        ips: Vec<IpAddr>,
        ttl: u32,
    },
    /// The same, but over TCP alone: it is too long for a datagram.
    AtLength(Vec<IpAddr>),
    Code(ResponseCode),
    Nothing,
}

/// Until it is dropped.
pub(super) struct NameServer {
    pub(super) addr: SocketAddr,
    table: Arc<Mutex<Table>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Table {
    says: HashMap<(String, RecordType), Say>,
    asked: HashMap<String, usize>,
}

// === impl NameServer ===

impl NameServer {
    pub(super) async fn new() -> Self {
        let table = Arc::new(Mutex::new(Table::default()));
        // A port of UDP may be taken on TCP.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let addr = udp.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(answer_datagrams(udp, Arc::clone(&table)));
        tasks.spawn(answer_streams(tcp, Arc::clone(&table)));
        Self { addr, table, _tasks: tasks }
    }

    /// A name that it knows; of the other family it has no address.
    pub(super) fn knows(&self, host: &str, ips: &[&str], ttl: u32) {
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        for family in [Family::V4, Family::V6] {
            let ips = ips.iter().copied().filter(|ip| Family::of(*ip) == family).collect();
            self.says(host, family, Say::Addresses { ips, ttl });
        }
    }

    pub(super) fn says(&self, host: &str, family: Family, say: Say) {
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        lock(&self.table).says.insert((format!("{host}."), kind), say);
    }

    /// How often it was asked for IPv4 addresses of a name.
    pub(super) fn asked(&self, host: &str) -> usize {
        lock(&self.table).asked.get(&format!("{host}.")).copied().unwrap_or_default()
    }
}

async fn answer_datagrams(socket: UdpSocket, table: Arc<Mutex<Table>>) {
    let mut query = [0; 512];
    loop {
        let (length, client) = socket.recv_from(&mut query).await.unwrap();
        let response = respond(&query[..length], &table, true);
        if let Some(response) = response {
            socket.send_to(&response, client).await.unwrap();
        }
    }
}

async fn answer_streams(listener: TcpListener, table: Arc<Mutex<Table>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(converse(stream, Arc::clone(&table)));
    }
}

/// Until the client leaves.
async fn converse(mut stream: TcpStream, table: Arc<Mutex<Table>>) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await.unwrap();
        if let Some(response) = respond(&query, &table, false) {
            stream.write_u16(response.len().try_into().unwrap()).await.unwrap();
            stream.write_all(&response).await.unwrap();
        }
    }
}

fn respond(query: &[u8], table: &Mutex<Table>, is_datagram: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    let host = question.name().to_ascii().to_ascii_lowercase();
    let mut table = lock(table);
    if question.query_type() == RecordType::A {
        *table.asked.entry(host.clone()).or_default() += 1;
    }
    let say = table.says.get(&(host, question.query_type())).cloned();
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = true;
    response.metadata.recursion_available = true;
    response.add_query(question.clone());
    let (ips, ttl) = match say {
        None => {
            response.metadata.response_code = ResponseCode::NXDomain;
            (Vec::new(), 0)
        }
        Some(Say::Nothing) => return None,
        Some(Say::Code(code)) => {
            response.metadata.response_code = code;
            (Vec::new(), 0)
        }
        Some(Say::AtLength(_)) if is_datagram => {
            response.metadata.truncation = true;
            (Vec::new(), 0)
        }
        Some(Say::AtLength(ips)) => (ips, 60),
        Some(Say::Addresses { ips, ttl }) => (ips, ttl),
    };
    for ip in ips {
        response.add_answer(Record::from_rdata(question.name().clone(), ttl, RData::from(ip)));
    }
    Some(response.to_vec().unwrap())
}
