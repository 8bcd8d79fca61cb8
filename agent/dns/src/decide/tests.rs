use std::collections::BTreeSet;

use hickory_proto::{
    op::{Edns, Message, Query, ResponseCode},
    rr::{RData, Record, rdata},
};

use super::*;
use crate::{
    fixture::{CONFIG, cluster, crowd, decided, query, search, with_edns},
    is_reply_to,
};

/// `A`, and what becomes of it for a pod of `shop`.
#[test]
fn names() {
    let snapshot = cluster();
    for (name, asked, expected) in [
        ("whole name", "web.shop.svc.cluster.local", "192.0.2.10"),
        ("whatever its case", "wEB.Shop.SVC.cluster.LOCAL", "192.0.2.10"),
        ("one label: the client's namespace", "web", "192.0.2.10"),
        ("service and namespace", "web.other", "192.0.2.12 192.0.2.13"),
        ("with svc", "web.other.svc", "192.0.2.12 192.0.2.13"),
        ("one label of another namespace", "api", "forward: UnknownName"),
        ("partial domain, which Kubernetes has neither", "web.other.svc.cluster", "forward: UnknownName"),
        ("not exported to the client", "private.other", "forward: UnknownName"),
        (
            "without an address yet",
            "pending",
            "forward: service shop/pending has no address yet, or only networks",
        ),
        ("unknown", "www.example.org", "forward: UnknownName"),
        ("root", ".", "forward: UnknownName"),
        // Headless.
        ("headless: ready, each once", "db", "198.51.100.1 198.51.100.4 198.51.100.5"),
        ("headless: none ready", "idle", "forward: headless service shop/idle has no ready endpoint"),
        ("endpoint", "db-0.db.shop.svc.cluster.local", "198.51.100.1"),
        ("endpoint, short", "db-3.db", "198.51.100.4"),
        ("endpoint with namespace", "db-3.db.shop", "198.51.100.4"),
        ("endpoint with svc", "db-3.db.shop.svc", "198.51.100.4"),
        ("endpoint of a service that is not exported", "hidden-0.hidden.other", "forward: UnknownName"),
        ("ServiceEntry called like a service", "legacy", "198.51.100.11"),
        // ServiceEntries.
        ("allocated", "api.example.com", "240.240.0.1"),
        ("given", "given.example.com", "203.0.113.1"),
        (
            "not allocated yet",
            "late.example.com",
            "forward: ServiceEntry host shop/late.example.com has no address yet, or only networks",
        ),
        (
            "only a network",
            "network.example.com",
            "forward: ServiceEntry host shop/network.example.com has no address yet, or only networks",
        ),
        (
            "NONE without an address",
            "raw.example.com",
            "forward: ServiceEntry host shop/raw.example.com has no address of its own, and is outside the cluster",
        ),
        ("not exported", "secret.example.com", "forward: UnknownName"),
        // Several of one host.
        ("the client's namespace first", "twice.example.com", "240.240.0.7"),
        ("then the first that is exported", "elsewhere.example.com", "240.240.0.8"),
        ("Kubernetes before ServiceEntry", "api.other.svc.cluster.local", "192.0.2.14"),
        (
            "the client's own even while it has no address",
            "waits.example.com",
            "forward: ServiceEntry host shop/waits.example.com has no address yet, or only networks",
        ),
        // Wildcards.
        ("wildcard", "a.wild.example", "240.240.0.2"),
        ("wildcard, more labels", "a.b.c.wild.example", "240.240.0.2"),
        ("the most specific wildcard", "a.deep.wild.example", "240.240.0.3"),
        ("not the domain of a wildcard itself", "wild.example", "forward: UnknownName"),
        ("wildcard of a top-level domain", "example.tld", "240.240.0.4"),
        ("wildcard, asked as such", "*.wild.example", "240.240.0.2"),
        ("a wildcard takes no expansion", "www.example.net", "forward: UnknownName"),
        ("wildcard of the cluster domain", "nobody.cluster.local", "240.240.0.5"),
        // Search domains.
        (
            "search: ServiceEntry",
            "api.example.com.shop.svc.cluster.local",
            "CNAME api.example.com. 240.240.0.1",
        ),
        (
            "search: the second domain",
            "api.example.com.svc.cluster.local",
            "CNAME api.example.com. 240.240.0.1",
        ),
        (
            "search: a service known by a short form, before the wildcard",
            "web.other.shop.svc.cluster.local",
            "CNAME web.other. 192.0.2.12 192.0.2.13",
        ),
        ("search: keeps the case", "API.example.com.cluster.local", "CNAME API.example.com. 240.240.0.1"),
        ("search: endpoint", "db-0.db.shop.shop.svc.cluster.local", "CNAME db-0.db.shop. 198.51.100.1"),
        (
            "search: of the node, whole name",
            "api.example.com.corp.example",
            "CNAME api.example.com. 240.240.0.1",
        ),
        ("search: of the node, no short form", "web.corp.example", "forward: UnknownName"),
        ("search: of the node, no wildcard", "a.wild.example.corp.example", "forward: UnknownName"),
        ("in a search domain, but itself known", "host.corp.example", "240.240.0.14"),
        ("a search domain itself", "corp.example", "forward: UnknownName"),
        ("a search domain by its letters only", "api.example.comcorp.example", "forward: UnknownName"),
        // ExternalName.
        ("ExternalName of the mesh", "to-mesh", "CNAME api.example.com. 240.240.0.1"),
        (
            "ExternalName of an ExternalName",
            "to-alias",
            "CNAME TO-MESH.shop.svc.cluster.local. CNAME api.example.com. 240.240.0.1",
        ),
        ("ExternalName in a wildcard", "to-wildcard", "CNAME any.wild.example. 240.240.0.2"),
        (
            "ExternalName outside",
            "to-internet",
            "forward: the ExternalName www.example.org is no host of the mesh",
        ),
        ("ExternalName is no short form", "to-short", "forward: the ExternalName web is no host of the mesh"),
        (
            "ExternalName without an address of its own",
            "to-raw",
            "forward: ServiceEntry host shop/raw.example.com has no address of its own, and is outside the cluster",
        ),
        // What the wildcard of the cluster domain takes: to the client there is no other of this name.
        (
            "ExternalName that is not exported",
            "to-hidden",
            "CNAME private.other.svc.cluster.local. 240.240.0.5",
        ),
        (
            "ExternalName of itself",
            "to-itself",
            "forward: ExternalNames lead to to-itself.shop.svc.cluster.local round in a circle, or over more than 8",
        ),
        (
            "ExternalName round about",
            "ping",
            "forward: ExternalNames lead to pong.shop.svc.cluster.local round in a circle, or over more than 8",
        ),
        (
            "search and ExternalName",
            "to-mesh.shop.shop.svc.cluster.local",
            "CNAME to-mesh.shop. CNAME api.example.com. 240.240.0.1",
        ),
    ] {
        let message = query(asked, RecordType::A).to_vec().unwrap();
        assert_eq!(told(&snapshot, &message, Transport::Udp), expected, "{name}: {asked}");
    }
}

#[test]
fn families_and_types() {
    let snapshot = cluster();
    for (name, record_type, asked, expected) in [
        ("both families", RecordType::AAAA, "web", "2001:db8::10"),
        ("allocated", RecordType::AAAA, "api.example.com", "2001:2::1"),
        ("none of this family", RecordType::AAAA, "four", "nothing"),
        ("headless, none of this family", RecordType::AAAA, "db", "nothing"),
        ("endpoint, none of this family", RecordType::AAAA, "db-0.db", "nothing"),
        ("wildcard, none of this family", RecordType::AAAA, "a.wild.example", "nothing"),
        (
            "search, none of this family",
            RecordType::AAAA,
            "given.example.com.cluster.local",
            "CNAME given.example.com.",
        ),
        ("HTTPS", RecordType::HTTPS, "web", "forward: RecordType"),
        ("SRV", RecordType::SRV, "_pg._tcp.db.shop.svc.cluster.local", "forward: RecordType"),
        ("PTR", RecordType::PTR, "10.2.0.192.in-addr.arpa", "forward: RecordType"),
        ("ANY", RecordType::ANY, "web", "forward: RecordType"),
        ("CNAME", RecordType::CNAME, "to-mesh", "forward: RecordType"),
    ] {
        let message = query(asked, record_type).to_vec().unwrap();
        assert_eq!(told(&snapshot, &message, Transport::Udp), expected, "{name}: {asked}");
    }
}

/// Every one asks for `web`, which is known.
#[test]
fn messages() {
    let snapshot = cluster();
    let web = || query("web", RecordType::A);
    let bytes = |message: Message| message.to_vec().unwrap();
    let with = |change: fn(&mut Vec<u8>)| {
        let mut message = web().to_vec().unwrap();
        change(&mut message);
        message
    };
    let edns = |version: u8| {
        let mut edns = Edns::new();
        edns.set_version(version);
        let mut message = web();
        message.set_edns(edns);
        bytes(message)
    };
    for (name, message, expected) in [
        ("nothing", Vec::new(), "drop: TooShort"),
        ("less than a header", vec![0; 11], "drop: TooShort"),
        ("a reply", with(|m| m[2] |= 0x80), "drop: Reply"),
        ("STATUS", with(|m| m[2] |= 2 << 3), "forward: Operation"),
        ("UPDATE", with(|m| m[2] |= 5 << 3), "forward: Operation"),
        ("no question", with(|m| m[5] = 0), "FORMERR"),
        ("two questions", with(|m| m[5] = 2), "FORMERR"),
        ("65 535 questions", with(|m| m[4..6].fill(0xff)), "FORMERR"),
        ("question cut off", with(|m| m.truncate(18)), "FORMERR"),
        ("name that points at itself", with(|m| m[12..14].copy_from_slice(&[0xc0, 12])), "FORMERR"),
        ("label of a kind that there is not", with(|m| m[12] = 0x80), "FORMERR"),
        ("CHAOS", with(|m| *m.last_mut().unwrap() = 3), "forward: Class"),
        ("a dot inside a label", with(|m| m[14] = b'.'), "forward: UnknownName"),
        ("what cannot be printed", with(|m| m[14] = 0xff), "forward: UnknownName"),
        ("with an answer", with(|m| m[7] = 1), "forward: Records"),
        ("with an authority", with(|m| m[9] = 1), "forward: Records"),
        ("several additional records", with(|m| m[11] = 2), "forward: Records"),
        (
            "an additional record that is no EDNS",
            {
                let mut message = web();
                let data = RData::A(rdata::A::new(192, 0, 2, 1));
                message.add_additional(Record::from_rdata(Name::root(), 0, data));
                bytes(message)
            },
            "forward: Records",
        ),
        ("an additional record cut off", with(|m| m[11] = 1), "FORMERR"),
        ("EDNS", edns(0), "192.0.2.10"),
        ("EDNS of the future", edns(1), "BADVERS"),
        ("something behind its end", with(|m| m.extend([0; 40])), "192.0.2.10"),
    ] {
        for transport in [Transport::Udp, Transport::Tcp] {
            assert_eq!(told(&snapshot, &message, transport), expected, "{name}");
        }
    }
}

/// What is malformed behind an unknown name is for its resolver to refuse.
#[test]
fn unknown_names_are_forwarded_whatever_follows() {
    let mut message = query("www.example.org", RecordType::A).to_vec().unwrap();
    message[11] = 1;
    assert_eq!(told(&cluster(), &message, Transport::Udp), "forward: UnknownName");
}

#[test]
fn replies_repeat_what_they_must() {
    let snapshot = cluster();
    let mut asked = with_edns(query("Web.SHOP.svc.cluster.local", RecordType::A), 4096);
    asked.metadata.checking_disabled = true;
    asked.metadata.authentic_data = true;
    asked.edns.as_mut().unwrap().set_dnssec_ok(true);
    let bytes = asked.to_vec().unwrap();
    let Decision::Answer { message, .. } = decided(&snapshot, &bytes, Transport::Udp) else {
        panic!("is answered");
    };
    let reply = Message::from_vec(&message).unwrap();
    assert!(is_reply_to(&bytes, 0x1234, &message));
    assert!(reply.authoritative && reply.recursion_available && !reply.truncation);
    assert!(reply.recursion_desired && reply.checking_disabled && !reply.authentic_data);
    assert!(reply.queries[0].name().eq_case(asked.queries[0].name()), "{:?}", reply.queries);
    assert!(reply.answers[0].name.eq_case(asked.queries[0].name()), "{:?}", reply.answers);
    assert_eq!(reply.answers[0].ttl, 30);
    let edns = reply.edns.unwrap();
    assert_eq!((edns.version(), edns.max_payload(), edns.flags().dnssec_ok), (0, 1232, true));
    assert!(edns.options().as_ref().is_empty());
}

#[test]
fn to_the_byte() {
    let message = query("db-0.db.shop.svc.cluster.local", RecordType::A).to_vec().unwrap();
    let Decision::Answer { message, .. } = decided(&cluster(), &message, Transport::Udp) else {
        panic!("is answered");
    };
    let expected = b"\x12\x34\x85\x80\0\x01\0\x01\0\0\0\0\
        \x04db-0\x02db\x04shop\x03svc\x07cluster\x05local\0\0\x01\0\x01\
        \xc0\x0c\0\x01\0\x01\0\0\0\x1e\0\x04\xc6\x33\x64\x01";
    assert_eq!(message, expected);

    let message = query("to-mesh.shop", RecordType::AAAA).to_vec().unwrap();
    let Decision::Answer { message, .. } = decided(&cluster(), &message, Transport::Udp) else {
        panic!("is answered");
    };
    let expected = b"\x12\x34\x85\x80\0\x01\0\x02\0\0\0\0\
        \x07to-mesh\x04shop\0\0\x1c\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x1e\0\x11\x03api\x07example\x03com\0\
        \xc0\x2a\0\x1c\0\x01\0\0\0\x1e\0\x10\x20\x01\0\x02\0\0\0\0\0\0\0\0\0\0\0\x01";
    assert_eq!(message, expected);
}

#[test]
fn too_many_addresses_for_a_datagram() {
    let snapshot = crowd(10_000);
    let web = || query("crowd", RecordType::A);
    for (name, asked, transport, limit, records) in [
        ("without EDNS", web(), Transport::Udp, 512, 30),
        ("less than a datagram holds anyway", with_edns(web(), 100), Transport::Udp, 512, 29),
        ("as the client takes", with_edns(web(), 1232), Transport::Udp, 1232, 74),
        ("not all that the client takes", with_edns(web(), 65_535), Transport::Udp, 4096, 253),
        ("TCP", web(), Transport::Tcp, 65_535, 4_094),
        ("TCP with EDNS", with_edns(web(), 512), Transport::Tcp, 65_535, 4_093),
    ] {
        let bytes = asked.to_vec().unwrap();
        let Decision::Answer { message, outcome } = decided(&snapshot, &bytes, transport) else {
            panic!("{name}: is answered");
        };
        let reply = Message::from_vec(&message).unwrap();
        assert!(message.len() <= limit && limit < message.len() + 16, "{name}: {}", message.len());
        assert_eq!((reply.answers.len(), reply.truncation), (records, true), "{name}");
        assert_eq!(reply.edns.is_some(), asked.edns.is_some(), "{name}");
        assert!(
            matches!(outcome, Outcome::Addresses { count, truncated: true, .. } if count == records),
            "{name}"
        );
    }
}

#[test]
fn as_many_as_fit_are_not_truncated() {
    for pods in [1, 2, 29, 30] {
        let message = query("crowd", RecordType::A).to_vec().unwrap();
        let snapshot = crowd(pods);
        let Decision::Answer { message, outcome } = decided(&snapshot, &message, Transport::Udp) else {
            panic!("is answered");
        };
        assert!(!Message::from_vec(&message).unwrap().truncation, "{pods}");
        let Outcome::Addresses { count, truncated: false, .. } = outcome else {
            panic!("{pods}: {outcome:?}");
        };
        assert_eq!(count, usize::from(pods));
    }
}

#[test]
fn of_too_many_addresses_each_is_drawn_once() {
    let snapshot = crowd(10_000);
    let search = search("shop");
    let client = Client { namespace: "shop", search: &search };
    let message = query("crowd", RecordType::A).to_vec().unwrap();
    let mut random = fastrand::Rng::with_seed(8);
    let decision =
        decide(&snapshot, &client, &CONFIG, &message, Transport::Tcp, |count| random.usize(..count));
    let Decision::Answer { message, .. } = decision else { panic!("is answered") };
    let addresses = Message::from_vec(&message).unwrap().answers;
    let distinct: BTreeSet<_> = addresses.iter().map(|record| record.data.to_string()).collect();
    assert_eq!((addresses.len(), distinct.len()), (4_094, 4_094));
}

/// Every address comes first sooner or later, and none is lost.
#[test]
fn addresses_are_shuffled() {
    let snapshot = crowd(5);
    let search = search("shop");
    let client = Client { namespace: "shop", search: &search };
    let message = query("crowd", RecordType::A).to_vec().unwrap();
    let mut first = BTreeSet::new();
    for seed in 0..5 {
        let random = |n: usize| seed % n;
        let Decision::Answer { message, .. } =
            decide(&snapshot, &client, &CONFIG, &message, Transport::Udp, random)
        else {
            panic!("is answered");
        };
        let told = records(&Message::from_vec(&message).unwrap());
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), 5, "{told:?}");
        first.insert(told[0].clone());
    }
    assert_eq!(first.len(), 5, "{first:?}");
}

/// No wildcard of theirs, no search list, another namespace.
#[test]
fn other_clients() {
    let snapshot = cluster();
    for (name, namespace, search, asked, expected) in [
        ("their own service", "other", search("other"), "web", "192.0.2.12 192.0.2.13"),
        ("exported to them", "other", search("other"), "private", "192.0.2.15"),
        ("its endpoint", "other", search("other"), "hidden-0.hidden", "198.51.100.10"),
        ("their own ServiceEntry", "other", search("other"), "twice.example.com", "240.240.0.6"),
        (
            "exported to them, by search",
            "other",
            search("other"),
            "secret.example.com.cluster.local",
            "CNAME secret.example.com. 240.240.0.12",
        ),
        ("no search list, short form", "shop", Vec::new(), "web", "192.0.2.10"),
        (
            "no search list: nothing is stripped, the wildcard has it",
            "shop",
            Vec::new(),
            "api.example.com.svc.cluster.local",
            "240.240.0.5",
        ),
    ] {
        let client = Client { namespace, search: &search };
        let message = query(asked, RecordType::A).to_vec().unwrap();
        let decision = decide(&snapshot, &client, &CONFIG, &message, Transport::Udp, |_| 0);
        assert_eq!(summary(&message, decision), expected, "{name}: {asked}");
    }
}

fn told(snapshot: &Snapshot, message: &[u8], transport: Transport) -> String {
    summary(message, decided(snapshot, message, transport))
}

fn summary(query: &[u8], decision: Decision<'_>) -> String {
    match decision {
        Decision::Drop { because } => format!("drop: {because:?}"),
        Decision::Forward { because: Forwarded::Unanswerable(because) } => format!("forward: {because}"),
        Decision::Forward { because } => format!("forward: {because:?}"),
        Decision::Answer { message, .. } => {
            let reply = Message::from_vec(&message).unwrap();
            assert!(is_reply_to(query, reply.id, &message), "{reply:?}");
            match reply.response_code {
                ResponseCode::NoError => {}
                ResponseCode::FormErr => return "FORMERR".to_owned(),
                // hickory reads the number as BADSIG, which it is of signatures.
                other if u16::from(other) == u16::from(ResponseCode::BADVERS) => return "BADVERS".to_owned(),
                other => return other.to_string(),
            }
            assert!(reply.authoritative);
            let records = records(&reply);
            if records.is_empty() { "nothing".to_owned() } else { records.join(" ") }
        }
    }
}

/// Each must belong to what the one before leads to.
fn records(reply: &Message) -> Vec<String> {
    let mut owner = Query::name(&reply.queries[0]);
    let mut records = Vec::new();
    for record in &reply.answers {
        assert!(record.name.eq_case(owner), "{} is not {owner}", record.name);
        records.push(match &record.data {
            RData::A(ip) => ip.to_string(),
            RData::AAAA(ip) => ip.to_string(),
            RData::CNAME(name) => {
                owner = &name.0;
                format!("CNAME {name}")
            }
            other => panic!("{other}"),
        });
    }
    records
}
