//! What Prometheus hears.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
};

use harness::{Agent, AgentOptions, Lab};

use crate::{
    mesh::{Mesh, NAMESPACE, dial, echo},
    steering::wait_for,
};

const PORT: u16 = 15020;
/// More than are answered at once.
const CROWD: usize = 40;

#[test]
fn a_pod_that_cannot_be_captured_is_told_until_it_is() {
    let mesh = Mesh::labelled("metrics");
    let [good, bad] = ["good", "bad"].map(|name| mesh.node.pod(NAMESPACE, name).start_unannounced().unwrap());
    let obstacle = mesh.node.pin_dir().join(format!("links/steer-{:x}", bad.netns().cookie()));
    fs::create_dir(&obstacle).unwrap();
    for pod in [&good, &bad] {
        pod.announce().unwrap();
    }
    let series = format!(
        r#"millstream_uncaptured_pods{{namespace="{NAMESPACE}",pod="bad",reason="capture-failed"}} 1"#
    );
    wait_for(|| tells(&mesh.agent, &series));
    wait_for(|| tells(&mesh.agent, r#"millstream_pods{state="captured"} 1"#));
    assert!(tells(&mesh.agent, r#"millstream_pods{state="failed"} 1"#));

    fs::remove_dir(&obstacle).unwrap();
    mesh.agent.wait_captured(&bad).unwrap();
    let page = mesh.agent.metrics().unwrap();
    assert!(!page.contains("uncaptured_pods{"), "{page}");
    assert!(tells(&mesh.agent, r#"millstream_pods{state="captured"} 2"#));
}

#[test]
fn open_and_ended_connections_are_counted() {
    let mesh = Mesh::labelled("counted");
    let client = mesh.pod("client");
    let stranger = mesh.stranger("stranger");
    let _listening = echo(&stranger, 7);
    assert!(tells(&mesh.agent, "millstream_ready 1"));
    let (dialled, _) = dial(&client, (stranger.v4(), 7), &[]);
    assert!(tells(&mesh.agent, "millstream_connections 1"));
    dialled.finish().unwrap();
    wait_for(|| tells(&mesh.agent, "millstream_connections 0"));
    assert!(tells(&mesh.agent, r#"millstream_connections_ended_total{reason="closed"} 1"#));
}

#[test]
fn who_asks_amiss_and_who_never_asks_keep_nobody_from_asking() {
    let mesh = Mesh::unlabelled("amiss");
    let page = |path: &str| format!("http://127.0.0.1:{PORT}{path}");
    let headers = (0..200).flat_map(|n| ["--header".to_owned(), format!("x-{n}: y")]);
    for (question, status) in [
        (vec![page("/metrics")], "200"),
        (vec![page("/")], "404"),
        (vec![page("/metrics"), "--data".to_owned(), "x".repeat(100_000)], "405"),
        ([vec![page("/metrics")], headers.collect()].concat(), "431"),
    ] {
        let ask = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"];
        let words = ask.into_iter().map(str::to_owned).chain(question);
        let answer = mesh.node.run(&words.collect::<Vec<_>>()).unwrap();
        assert_eq!(answer.any_stdout(), status, "{}", answer.stderr);
    }
    let dial = || TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).unwrap();
    let silent: Vec<_> = mesh.node.netns().run(|| (0..CROWD).map(|_| dial()).collect()).unwrap();
    assert!(tells(&mesh.agent, "millstream_ready 1"));
    assert_eq!(silent.len(), CROWD);
}

#[test]
fn a_port_that_is_taken_is_said_and_tried_again() {
    let lab = Lab::new("taken").unwrap();
    let node = lab.node("a").unwrap();
    let holder = node.netns().run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))).unwrap().unwrap();
    let agent = node.agent(AgentOptions::default()).unwrap();
    wait_for(|| agent.log().unwrap().contains("Metrics cannot be served"));
    drop(holder);
    wait_for(|| agent.metrics().is_ok());
}

fn tells(agent: &Agent, series: &str) -> bool {
    agent.metrics().unwrap().lines().any(|line| line == series)
}
