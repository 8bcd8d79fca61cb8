//! What most tests begin with: a lab with agents, and a labelled namespace.

use std::net::SocketAddr;

use harness::{Agent, AgentOptions, Client, Connected, Lab, Mode, Node, Output, Pod, Server};
use serde_json::Value;

pub(crate) const NAMESPACE: &str = "shop";
pub(crate) const LABEL: &str = "istio.io/dataplane-mode";

/// One node with an agent.
pub(crate) struct Mesh {
    pub(crate) agent: Agent,
    pub(crate) node: Node,
    // Last: it takes down what the others are in.
    pub(crate) lab: Lab,
}

impl Mesh {
    /// The namespace is labelled: every pod in it is captured.
    pub(crate) fn labelled(name: &str) -> Self {
        let mesh = Self::unlabelled(name);
        mesh.label(Some("ambient"));
        mesh
    }

    pub(crate) fn unlabelled(name: &str) -> Self {
        Self::with(name, AgentOptions::default())
    }

    pub(crate) fn with(name: &str, options: AgentOptions) -> Self {
        let lab = Lab::new(name).unwrap();
        let node = lab.node("a").unwrap();
        // Records as JSON, for `records`.
        let agent = node.agent(options.arg("--log-json")).unwrap();
        Self { agent, node, lab }
    }

    pub(crate) fn label(&self, value: Option<&str>) {
        self.lab.label_namespace(NAMESPACE, LABEL, value).unwrap();
    }

    /// A pod, captured.
    pub(crate) fn pod(&self, name: &str) -> Pod {
        let pod = self.node.pod(NAMESPACE, name).start().unwrap();
        self.agent.wait_captured(&pod).unwrap();
        pod
    }

    /// A pod in a namespace of its own, which nobody labels.
    pub(crate) fn stranger(&self, name: &str) -> Pod {
        self.node.pod("elsewhere", name).start().unwrap()
    }

    /// The answer of a command in JSON, be it good news or bad.
    pub(crate) fn ask(&self, args: &[&str]) -> Value {
        let args: Vec<_> = args.iter().copied().chain(["--output", "json"]).collect();
        let output = self.agent.cli(&args).unwrap();
        serde_json::from_str(output.any_stdout())
            .unwrap_or_else(|e| panic!("{args:?}: {e}: {}", output.stderr))
    }

    /// Whether a live connection of that client goes through the proxy of this node.
    pub(crate) fn is_proxied(&self, client: SocketAddr) -> bool {
        let rows = self.agent.json(&["connections"]).unwrap();
        let client = client.to_string();
        rows.as_array().unwrap().iter().any(|row| row["client"] == *client)
    }

    /// How often connections have ended for that reason.
    pub(crate) fn ended(&self, reason: &str) -> u64 {
        let status = self.ask(&["status"]);
        let ended = status["ended"].as_array().unwrap();
        ended.iter().find(|e| e["reason"] == reason).map_or(0, |e| e["connections"].as_u64().unwrap())
    }

    /// What a program of the eBPF object has counted.
    pub(crate) fn counted(&self, program: &str, outcome: &str) -> u64 {
        let counters = self.agent.json(&["maps", "counters"]).unwrap();
        let fits = |c: &&Value| c["program"] == program && c["outcome"] == outcome;
        counters.as_array().unwrap().iter().find(fits).unwrap()["count"].as_u64().unwrap()
    }

    /// The access records so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let log = self.agent.log().unwrap();
        let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["target"] == "access").collect()
    }
}

/// Dials and expects success; the client's own address, for [`Mesh::is_proxied`].
#[track_caller]
pub(crate) fn dial(pod: &Pod, addr: impl Into<SocketAddr>, args: &[&str]) -> (Client, SocketAddr) {
    let addr = addr.into();
    let mut client = pod.dial(addr, args).unwrap();
    match client.connected().unwrap() {
        Connected::Yes { local, .. } => (client, SocketAddr::new(local.ip().to_canonical(), local.port())),
        no @ Connected::No { .. } => panic!("{} to {addr} {args:?}: {no:?}", pod.name()),
    }
}

/// Dials and expects to be refused.
#[track_caller]
pub(crate) fn refused(pod: &Pod, addr: impl Into<SocketAddr>) -> Connected {
    let addr = addr.into();
    let connected = pod.dial(addr, &[]).unwrap().connected().unwrap();
    match &connected {
        Connected::No { error, .. } => assert_eq!(error, "ECONNREFUSED", "{} to {addr}", pod.name()),
        Connected::Yes { .. } => panic!("{} to {addr} was not refused", pod.name()),
    }
    connected
}

#[track_caller]
pub(crate) fn echo(pod: &Pod, port: u16) -> Server {
    pod.serve_at(Mode::Echo, SocketAddr::new([0_u8; 16].into(), port), &[]).unwrap()
}

/// Everything in a pod that enrolment may change, as text.
pub(crate) fn fingerprint(pod: &Pod) -> String {
    let say = |args: &[&str]| -> String {
        let output: Output = pod.run(args).unwrap();
        format!("$ {}\n{}\n", args.join(" "), output.stdout().unwrap())
    };
    let mut text = String::new();
    for args in [
        &["ip", "rule"][..],
        &["ip", "-6", "rule"],
        &["ip", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
        &["ip", "address", "show", "scope", "global"],
        &["ss", "--listening", "--tcp", "--numeric"],
    ] {
        text.push_str(&say(args));
    }
    for sysctl in [
        "net/ipv4/tcp_fwmark_accept",
        "net/ipv4/fwmark_reflect",
        "net/ipv6/fwmark_reflect",
        "net/ipv4/conf/all/rp_filter",
        "net/ipv4/conf/eth0/rp_filter",
    ] {
        text.push_str(&format!("{sysctl} = {}\n", pod.read_sysctl(sysctl).unwrap()));
    }
    text
}

/// Shows the lines that differ, not everything.
#[track_caller]
pub(crate) fn assert_same(now: &str, before: &str) {
    let gone: Vec<&str> = before.lines().filter(|line| !now.contains(line)).collect();
    let new: Vec<&str> = now.lines().filter(|line| !before.contains(line)).collect();
    assert!(now == before, "gone: {gone:#?}\nnew: {new:#?}");
}
