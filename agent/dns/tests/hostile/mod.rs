//! What holds of every message, whoever wrote it. The fuzzer (`tests/fuzz`) takes it from here, too.
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test, wherever it is built")]

use std::sync::Arc;

use dns::{
    AnswerConfig, Client, Decision, Dropped, Failure, Outcome, Transport, decide, failure, is_reply_to,
    question,
};
use hickory_proto::op::Message;
use model::{
    Discovery, Endpoint, EndpointAddr, EndpointState, ObjectName, Service, ServicePort, Snapshot,
    SnapshotBuilder,
};

/// A service, one with more endpoints than fit into a datagram, an alias, and a wildcard.
pub(crate) fn cluster() -> Arc<Snapshot> {
    let kubernetes = |name| Service::kubernetes(ObjectName::new("shop", name), "cluster.local");
    let endpoints = (1..=200).map(|i| Endpoint {
        addr: EndpointAddr(format!("198.51.100.{i}:80").parse().unwrap()),
        state: EndpointState::Ready,
        node: None,
        pod: None,
        hostname: Some(format!("db-{i}").into()),
    });
    let port = ServicePort { port: 80, endpoints: endpoints.collect(), ..ServicePort::default() };
    SnapshotBuilder::new(1, "cluster.local")
        .service(Service {
            vips: vec!["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()],
            ..kubernetes("web")
        })
        .service(Service { discovery: Discovery::AsDialled, ports: vec![port], ..kubernetes("db") })
        .service(Service { external_name: Some("a.example.com".into()), ..kubernetes("alias") })
        .service(Service {
            allocated: vec!["240.240.0.1".parse().unwrap()],
            ..Service::entry("shop", "*.example.com")
        })
        .build()
}

pub(crate) fn search() -> Vec<Arc<str>> {
    ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"].map(Arc::from).to_vec()
}

/// Returns whether it was answered with addresses.
pub(crate) fn check(cluster: &Snapshot, search: &[Arc<str>], message: &[u8], transport: Transport) -> bool {
    let client = Client { namespace: "shop", search };
    let is_query = 12 <= message.len() && message[2] & 0x80 == 0;
    let mut answered = false;
    match decide(cluster, &client, &AnswerConfig { ttl: 30 }, message, transport, |n| n - 1) {
        Decision::Drop { because: Dropped::TooShort } => assert!(message.len() < 12),
        Decision::Drop { because: Dropped::Reply } => assert!(!is_query),
        Decision::Forward { .. } => assert!(is_query),
        Decision::Answer { message: reply, outcome } => {
            assert!(is_query);
            let limit = if transport == Transport::Udp { 4096 } else { 65_535 };
            assert!(reply.len() <= limit, "{} bytes", reply.len());
            assert!(is_reply_to(message, u16::from_be_bytes([message[0], message[1]]), &reply));
            let read = Message::from_vec(&reply).unwrap();
            if let Outcome::Addresses { count, truncated, .. } = outcome {
                answered = true;
                assert_eq!(read.truncation, truncated);
                assert!(count <= read.answers.len() && question(message).is_some());
            }
        }
    }
    for because in [Failure::NoAnswer, Failure::EdnsVersion] {
        let told = failure(message, because);
        assert_eq!(told.is_some(), is_query);
        if let Some(told) = told {
            assert!(told.len() <= 512 && Message::from_vec(&told).is_ok(), "{told:?}");
        }
    }
    answered
}
