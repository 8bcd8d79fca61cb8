//! A pod that asks more than anybody can answer.

use std::{
    fs,
    net::{IpAddr, UdpSocket},
    time::{Duration, Instant},
};

use harness::AgentOptions;
use hickory_resolver::proto::rr::RecordType;

use super::{
    Names, WEB, counted,
    message::{self, PORT, ask, query, told},
};
use crate::{
    mesh::{Mesh, NAMESPACE},
    steering::wait_for,
};

const QUERIES: u16 = 30_000;
/// For an agent that may open so many files 256 queries may wait for resolvers, of each pod half as many.
const FILES: u32 = 4_096;
const MOST: usize = 128;
/// What else the agent may have opened meanwhile.
const SLACK: usize = 32;

#[test]
fn a_flood_of_queries_that_nobody_answers_is_bounded_and_slows_nobody_else() {
    let mesh = Mesh::with("dnsflood", AgentOptions::default().files(FILES));
    mesh.label(Some("ambient"));
    let names = Names::of(mesh);
    let flooder = names.mesh.pod("flooder");
    let other = names.mesh.node.pod(NAMESPACE, "other").start().unwrap();
    names.mesh.agent.wait_captured(&other).unwrap();
    let silent = names.mesh.stranger("silent");
    let dead = IpAddr::from(silent.v4());
    // It is there, and never reads.
    let _deaf = silent.exec(|| UdpSocket::bind((dead, PORT))).unwrap().unwrap();
    let web = vec![IpAddr::from(names.web.v4)];
    let asked = query(1, WEB, RecordType::A).to_vec().unwrap();
    let ask_mesh = || told(&ask(&other, names.resolver.v4().into(), &asked).unwrap());
    assert_eq!(ask_mesh(), Ok(web.clone()));
    let files = open_files(&names.mesh);
    let memory = names.mesh.agent.resident().unwrap();

    let socket = message::socket(&flooder, dead);
    let mut slowest = Duration::ZERO;
    let mut most = files;
    for id in 0..QUERIES {
        let name = format!("n{id}.example.net");
        socket.send_to(&query(id, &name, RecordType::A).to_vec().unwrap(), (dead, PORT)).unwrap();
        if id % 500 == 0 {
            let begun = Instant::now();
            assert_eq!(ask_mesh(), Ok(web.clone()), "after {id} queries of the flood");
            slowest = slowest.max(begun.elapsed());
            most = most.max(open_files(&names.mesh));
        }
    }
    assert!(slowest < Duration::from_secs(2), "another pod waited for {slowest:?}");
    let own = ask(
        &other,
        names.resolver.v4().into(),
        &query(2, "www.example.com", RecordType::A).to_vec().unwrap(),
    );
    assert_eq!(told(&own.unwrap()), Ok(vec!["192.0.2.80".parse().unwrap()]), "what is forwarded for others");
    assert!(most <= files + MOST + SLACK, "{most} files, {files} before");
    assert!(files + MOST / 2 < most, "no flood: {most} files, {files} before");
    assert!(1_000 < counted(&names.mesh, "over-limit"), "{}", counted(&names.mesh, "over-limit"));

    wait_for(|| open_files(&names.mesh) <= files + SLACK);
    let grown = names.mesh.agent.resident().unwrap().saturating_sub(memory);
    assert!(grown < 64 << 20, "{grown} bytes more memory");
    assert_eq!(ask_mesh(), Ok(web));
    // The flooder, too, is served again.
    let reply = ask(&flooder, names.resolver.v4().into(), &asked).unwrap();
    assert_eq!(told(&reply), Ok(vec![names.web.v4.into()]));
}

fn open_files(mesh: &Mesh) -> usize {
    fs::read_dir(format!("/proc/{}/fd", mesh.agent.pid().unwrap())).unwrap().count()
}
